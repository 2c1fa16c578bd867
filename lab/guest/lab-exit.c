// SPDX-License-Identifier: GPL-2.0-only
/*
 * lab-exit CODE: end the virtual machine through QEMU's isa-debug-exit device
 * at port 0xf4.  QEMU's exit status is then CODE * 2 + 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: lab-exit CODE\n");
		return 2;
	}
	if (iopl(3)) {
		perror("iopl");
		return 1;
	}
	/* let the serial ports drain */
	usleep(50 * 1000);
	outb(atoi(argv[1]), 0xf4);
	return 1;
}
