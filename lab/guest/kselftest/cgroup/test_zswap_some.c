// SPDX-License-Identifier: GPL-2.0-only
/*
 * test_zswap_some NAME...: the kernel's test_zswap without the tests named.
 *
 * With no swap device some of them cannot work by what they are; one gets
 * the whole program killed.  They are reported as skipped.
 */
#define main test_zswap_main
#include "cgroup/test_zswap.c"
#undef main

static int left_out(const char *root)
{
	return KSFT_SKIP;
}

int main(int argc, char **argv)
{
	int i, j;

	for (i = 1; i < argc; i++) {
		for (j = 0; j < (int)ARRAY_SIZE(tests); j++) {
			if (!strcmp(argv[i], tests[j].name)) {
				tests[j].fn = left_out;
				break;
			}
		}
		if (j == (int)ARRAY_SIZE(tests))
			ksft_exit_fail_msg("no test %s\n", argv[i]);
	}
	return test_zswap_main(1, argv);
}
