# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# What jobs use: ". /lab/lib.sh" first, "finish" last.

echo "TAP version 13"
count=0
failed=0

# ok NAME, not_ok NAME, skip NAME REASON: one result.
ok()
{
	count=$((count + 1))
	echo "ok $count - $1"
}

not_ok()
{
	count=$((count + 1))
	failed=$((failed + 1))
	echo "not ok $count - $1"
}

skip()
{
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# check NAME COMMAND...: the result is that of the command.
check()
{
	local name="$1"

	shift
	if "$@"; then
		ok "$name"
	else
		echo "# failed: $*"
		not_ok "$name"
	fi
}

# equal VALUE EXPECTED
equal()
{
	[ "$1" = "$2" ] && return
	echo "# got '$1', expected '$2'"
	return 1
}

# selftest DIR/PROGRAM [ARGS]: run a kernel selftest as a subtest.
selftest()
{
	local prog="$1" status

	shift
	if [ ! -x "/lab/selftests/$prog" ]; then
		echo "# /lab/selftests/$prog is not in this initramfs"
		not_ok "$prog"
		return
	fi
	echo "# Subtest: $prog $*"
	(
		cd "/lab/selftests/${prog%/*}" || exit 1
		status=0
		"./${prog##*/}" "$@" 2>&1 || status=$?
		echo "$status" > /tmp/selftest-status
	) | while IFS= read -r line; do
		echo "    $line"
	done
	status=$(cat /tmp/selftest-status)
	case $status in
	0) ok "$prog" ;;
	4) skip "$prog" "the whole program" ;;
	*) echo "# exit status $status"; not_ok "$prog" ;;
	esac
}

# Kernel settings.
set_to()
{
	echo "$1" > "$2"
}

zswap=/sys/module/zswap/parameters
thp=/sys/kernel/mm/transparent_hugepage

# swap_on DEVICE: make swap space and use it.
swap_on()
{
	mkswap "$1" > /dev/null && swapon "$1"
}

# vmstat NAME: one counter of /proc/vmstat.
vmstat()
{
	sed -n "s/^$1 //p" /proc/vmstat
}

finish()
{
	echo "1..$count"
	[ "$failed" = 0 ]
	exit
}
