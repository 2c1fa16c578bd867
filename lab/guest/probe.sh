# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash disable=SC2034
#
# For jobs that drive lab/guest/swapprobe.c: ". /lab/probe.sh" after lib.sh.

# One swapprobe at a time, in a cgroup of its own, on one processor, so that slots
# are taken in the same order every time.
probe_group=/sys/fs/cgroup/probe
vswap=/sys/kernel/mm/swap/vswap
# what "check" answers if all is well
none="wrong none bus none"

probe_start()
{
	# khugepaged comes and swaps in what it collapses
	set_to 600000000 $thp/khugepaged/scan_sleep_millisecs || return
	[ -d $probe_group ] || mkdir $probe_group
	rm -f /probe.in /probe.out
	mkfifo /probe.in /probe.out
	# shellcheck disable=SC2016 # expanded by the inner shell
	sh -c 'echo $$ > $0/cgroup.procs
		exec taskset 1 swapprobe $0 < /probe.in > /probe.out' $probe_group &
	probe=$!
	exec 3> /probe.in 4< /probe.out
}

probe_stop()
{
	exec 3>&- 4<&-
	wait $probe
}

# ask COMMAND...: print what swapprobe answers
ask()
{
	echo "$*" >&3
	read -r answer <&4 || answer="swapprobe is gone"
	echo "$answer"
}

# says NAME ANSWER COMMAND...: swapprobe answers that
says()
{
	local name="$1" expected="$2"

	shift 2
	check "$name" equal "$(ask "$@")" "$expected"
}

# counts NAME USED ZSWAP PHYSICAL: virtual slots in use, those in zswap and those
# on devices, in pages.  The latter are what SwapFree has lost and the cgroup
# pays for.
counts()
{
	check "$1" equal "used $(cat $vswap/used) zswap $(cat $vswap/zswap) physical $(cat $vswap/physical) taken $(
		awk '/^SwapTotal:/ { t = $2 } /^SwapFree:/ { f = $2 }
			END { print (t - f) / 4 }' /proc/meminfo) charged $((
		$(cat $probe_group/memory.swap.current) / 4096))" \
		"used $2 zswap $3 physical $4 taken $4 charged $4"
}

# null_device NAME MIB [ATTRIBUTE=VALUE...]: make /dev/NAME, a null_blk device
# that keeps its data and has bad blocks on demand
null_device()
{
	local dir=/sys/kernel/config/nullb/$1 name="$1" size="$2" word

	[ -d /sys/kernel/config/nullb ] ||
		mount -t configfs configfs /sys/kernel/config || return
	mkdir "$dir" || return
	shift 2
	for word in "size=$size" blocksize=4096 memory_backed=1 "$@" power=1; do
		echo "${word#*=}" > "$dir/${word%%=*}" || return
	done
	test -b "/dev/$name"
}

# bad_slot NAME FIRST [LAST]: slots of a null_device that cannot be read or written
bad_slot()
{
	echo "+$(($2 * 8))-$((${3:-$2} * 8 + 7))" > "/sys/kernel/config/nullb/$1/badblocks"
}

# mend NAME: no bad slot any more
mend()
{
	echo "-0-$(($(cat "/sys/block/$1/size") - 1))" > "/sys/kernel/config/nullb/$1/badblocks"
}

# path_of DEVICE: the name of a device, or the path of a file
path_of()
{
	case $1 in
	/*) echo "$1" ;;
	*) echo "/dev/$1" ;;
	esac
}

# swap_space DEVICE: make it
swap_space() { mkswap "$(path_of "$1")" > /dev/null; }

# on DEVICE PRIORITY [discard], off DEVICE: swapon and swapoff
on()
{
	# shellcheck disable=SC2086 # nothing, or a word
	check "swap on $1" equal "$(swapprobe on "$(path_of "$1")" "$2" $3)" 0
}

off() { check "swap off $1" equal "$(swapprobe off "$(path_of "$1")")" 0; }

# on_device DEVICE: pages there
on_device() { awk -v dev="$(path_of "$1")" '$1 == dev { print $4 / 4 }' /proc/swaps; }

# write_out NAME REGION NR: all of it goes out and leaves the swap cache
write_out()
{
	says "$1: is asked out" 0 out "$2" 0 "$3"
	says "$1: leaves memory" 0 drop "$2" 0 "$3" 0
}

# new NAME REGION TYPE NR: a region with a first version in it
new()
{
	says "$1: is mapped" 0 map "$2" "$3" "$4"
	says "$1: is written to" "bus none" fill "$2" 0 "$4"
}

# gone NAME REGION: unmapped, nothing is left
gone()
{
	says "$1: is unmapped" 0 unmap "$2"
	counts "$1: nothing is left" 0 0 0
}

# reads NAME NR: since pswpin was set
reads()
{
	check "$1: $2 pages were read from a device" equal "$(($(vmstat pswpin) - pswpin))" "$2"
}

# file_in_pieces NAME DEVICE MIB: make /fs/swap, on a file system of its own.
# busybox makes ext2; extents are a bit in the superblock away.  The free space is
# in pieces of five blocks.
file_in_pieces()
{
	# shellcheck disable=SC2016 # expanded by the inner shell
	check "$1: a file system" sh -c 'mke2fs -b 4096 -I 256 -m 0 $0 > /dev/null &&
		printf "\102" | dd of=$0 bs=1 seek=1120 conv=notrunc 2> /dev/null &&
		mkdir -p /fs && mount -t ext4 $0 /fs' "/dev/$2"
	i=0
	while dd if=/dev/zero of=/fs/$i bs=20k count=1 2> /dev/null; do
		i=$((i + 1))
		[ $((i % 100)) != 0 ] || sync
	done
	check "$1: full of small files" test $i -gt 500
	while [ $i -ge 0 ]; do
		rm -f /fs/$i
		i=$((i - 2))
	done
	sync
	check "$1: in pieces" dd if=/dev/zero of=/fs/swap bs=1M count=$3 2> /dev/null
	sync
	check "$1: swap space in it" swap_space /fs/swap
}

# in_pieces NAME MIB: was it in pieces, when it was last switched on?
in_pieces()
{
	extents=$(dmesg | sed -n "s/.*Adding $(($2 * 1024 - 4))k swap on \/fs\/swap.* extents:\([0-9]*\) .*/\1/p" | tail -1)
	echo "# ${extents:-0} extents"
	check "$1: many extents" test "${extents:-0}" -gt 100
}
