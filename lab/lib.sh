# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
#
# What every script of the lab uses.  Source it, do not run it.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LAB=$TOP/lab
BUILD=${LAB_BUILD:-$TOP/build}
LOGS=$BUILD/logs
LINUX=${LINUX:-}
export LC_ALL=C TZ=UTC
# nothing of the caller's make or environment may reach the kernel's make
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CDPATH GREP_OPTIONS
unset O ARCH CROSS_COMPILE KBUILD_OUTPUT KCFLAGS CFLAGS CPPFLAGS LDFLAGS
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
mkdir -p "$LOGS" "$BUILD/tmp"

# Progress of long work.  The time is that since the script began.
say()
{
	printf '[lab] %4ds  %s\n' "$SECONDS" "$*" >&2
}

# Say what is wrong and what to do about it, then stop.
die()
{
	printf '[lab] error: %s\n' "$*" >&2
	exit 1
}

# help "$@": print the head of the script if the first word asks for it.
help()
{
	case ${1:-} in
	-h | --help)
		sed -n '/^# usage/,/^$/s/^# \{0,1\}//p' "$0"
		exit 0
		;;
	esac
}

# need_value OPTION VALUE...: an option that takes a value was given one.
need_value()
{
	[ $# -ge 2 ] || die "$1 needs a value; see the head of $0"
}

# need_number NAME VALUE
need_number()
{
	[[ $2 =~ ^[0-9]+$ ]] || die "$1 must be a whole number, not '$2'"
}

# need_space MIB: enough room where the lab builds.
need_space()
{
	local have
	have=$(df -Pm "$BUILD" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$1" ] ||
		die "$BUILD has $have MiB free and $1 MiB are needed; make room or set LAB_BUILD to a directory on a larger disk"
}

# read_list FILE: the lines of a data file, without comments and blank lines.
read_list()
{
	sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$1"
}

case $TOP$BUILD in
*[[:space:]:]*) die "kernels cannot be built below a path with spaces or colons: $TOP" ;;
esac

# One tree is patched and built: linux/, or a worktree of the tree given by
# LINUX=.  The pristine base has a worktree of its own.
if [ -n "$LINUX" ]; then
	[ -d "$LINUX" ] || die "LINUX=$LINUX is no directory, seen from $PWD"
	LINUX=$(cd "$LINUX" && pwd)
	TREE=$BUILD/src/user
	PREFIX=user-
else
	TREE=$TOP/linux
	PREFIX=
fi
BASE_TREE=$BUILD/src/${PREFIX}base

# A tree of the kernel is at DIR, complete.
is_tree()
{
	[ -e "$1/.git" ] && [ -f "$1/mm/Kconfig" ] && [ -f "$1/Makefile" ]
}
