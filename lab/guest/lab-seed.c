// SPDX-License-Identifier: GPL-2.0-only
/*
 * lab-seed: tell the kernel that its random numbers are seeded.  The guest
 * has no secrets; it must not wait, and counted runs must not differ.
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

int main(void)
{
	struct {
		struct rand_pool_info info;
		unsigned char data[64];
	} seed = { .info = { .entropy_count = 512, .buf_size = 64 } };
	int fd = open("/dev/urandom", O_RDWR);

	memset(seed.data, 0x5a, sizeof(seed.data));
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &seed)) {
		perror("lab-seed");
		return 1;
	}
	return 0;
}
