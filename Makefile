# SPDX-License-Identifier: GPL-2.0-only
#
# "make" alone shows what there is.

LINUX ?=
export LINUX

.PHONY: help run compare test test-long bench shell check export clean distclean
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make run        boot the patched kernel and show virtual swap at work
run:
	@lab/run
## make compare    the same workload on the base and on the patched kernel
compare:
	@lab/compare
## make test       build the kernels and run the tests
test:
	@lab/test
## make test-long  the tests, and those that take long
test-long:
	@lab/test --long
## make bench      measure the base against the patched kernel
bench:
	@lab/bench
	@lab/bench-device
	@lab/bench-compile
## make shell      a shell in the patched kernel
shell:
	@lab/shell
## make check      the checks that a patch series must pass
check:
	@lab/check
## make export     write patches/ and the new files from linux/
export:
	@lab/export
## make clean      remove what was built; keeps downloads
clean:
	@lab/clean
## make distclean  remove downloads and linux/ too, if linux/ has no work of yours
distclean:
	@lab/clean --all
##
## LINUX=/path/to/git/tree applies the series to a worktree of that tree.
