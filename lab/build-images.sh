#!/bin/bash
# Make build/images from build/root: the hypervisor, the kernel, and one small
# initramfs for each of dom0, guest and peer. An initramfs is busybox, the tools
# and libraries named below, stripped modules, and the files of lab/<name>/.
# shellcheck disable=SC2086	# the lists below are made to be split
set -euo pipefail
cd "$(dirname "$0")/.."

root=build/root
images=build/images.new
work=build/images.work
lib=usr/lib/x86_64-linux-gnu
kernel=$(basename "$(echo $root/lib/modules/*-amd64 | tr ' ' '\n' | sort -V | tail -1)")
xen=$(basename "$(echo $root/usr/lib/xen-[0-9]* | tr ' ' '\n' | sort -V | tail -1)")
xenbin=usr/lib/$xen/bin

tools_all="bash head tail dd stat truncate timeout seq date cmp lsblk strace ip tc ss ethtool"
tools_fs="mkfs.ext4 e2fsck dumpe2fs debugfs resize2fs tune2fs filefrag mkfs.xfs xfs_repair
	xfs_io xfs_quota mkfs.btrfs fallocate losetup blkdiscard dmsetup e4defrag fsfreeze
	chattr setpriv"
tools_guest="$tools_all $tools_fs nft"
tools_peer="$tools_all tcpdump"
tools_dom0="$tools_all $tools_fs tcpdump chrt nft bridge nsenter ovs-vsctl ovs-ofctl
	ovsdb-server ovsdb-tool
	xenstore-chmod xenstore-exists xenstore-list xenstore-ls xenstore-read
	xenstore-rm xenstore-watch xenstore-write"
tools_xen="xl xenstored xenconsoled xenconsole xen-init-dom0 libxl-save-helper
	xenstore-control lsevtchn xenlockprof xenperf xentop xentrace xen-diag"

# Also what is opened at run time only, and what our own programs are linked to.
libs="ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libpthread.so.0 librt.so.1 libdl.so.2
	libgcc_s.so.1"

# Loaded at boot, and only there for modprobe or the kernel to load.
boot_dom0="xenfs xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xen-blkback xen-netback
	virtio_blk vmxnet3 bridge veth tun loop brd ext4"
boot_guest="xen-blkfront xen-netfront ext4"
boot_peer="virtio_blk e1000e"
more_net="sch_netem sch_fq sch_ingress sch_tbf cls_u32 cls_matchall act_mirred ifb tcp_bbr
	tcp_dctcp tls tcp_diag inet_diag dummy veth 8021q nf_tables nft_ct nft_chain_nat
	nft_reject_inet"
more_fs="xfs btrfs overlay loop brd xts cts quota_v2 dm-mod dm-flakey dm-log-writes dm-delay dm-snapshot"
more_dom0="$more_net $more_fs br_netfilter macvlan nft_fwd_netdev nft_dup_netdev nft_log
	nft_limit nft_masq nft_compat nft_meta_bridge nf_conntrack_bridge openvswitch"
more_guest="$more_net $more_fs nd_e820 nd_pmem nft_nat nft_redir nft_masq"
more_peer="$more_net"

# The payload of a bzImage, by its header: the setup's size in sectors, then
# offset and length of the payload from the end of the setup.
extract_vmlinux() {	# VMLINUZ OUT
	local setup offset length magic
	setup=$((($(od -An -tu1 -j $((0x1f1)) -N1 "$1") + 1) * 512))
	offset=$(od -An -tu4 -j $((0x248)) -N4 "$1")
	length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
	head -c $((setup + offset + length - 4)) "$1" | tail -c $((length - 4)) >"$2.packed"
	magic=$(od -An -tx1 -N4 "$2.packed" | tr -d ' ')
	case $magic in
	28b52ffd) zstd -qdc "$2.packed" ;;
	fd377a58) xz -dc --single-stream "$2.packed" ;;
	1f8b*) gzip -dc "$2.packed" ;;
	*) echo "build-images: unknown kernel compression $magic" >&2; return 1 ;;
	esac >"$2"
	rm "$2.packed"
}

tools() {	# IMAGE NAME...: programs of the root, replacing busybox's
	local image=$1 name path
	shift
	for name in "$@"; do
		for path in "$root/usr/sbin/$name" "$root/usr/bin/$name"; do
			[ -f "$path" ] && break
		done
		rm -f "$image/usr/bin/$name"
		install -D "$path" "$image/usr/bin/$name"
	done
}

libraries() {	# IMAGE: what its programs need, recursively
	local image=$1 name more=1
	for name in $libs; do
		install "$root/$lib/$name" "$image/$lib/"
	done
	while [ "$more" ]; do
		more=
		for name in $(find "$image/usr/bin" "$image/usr/lib" -type f -not -name '*.ko' -print0 |
				xargs -0 objdump -p 2>/dev/null |
				awk '$1 == "NEEDED" { print $2 }' | sort -u); do
			[ ! -e "$image/$lib/$name" ] || continue
			install "$root/$lib/$name" "$image/$lib/"
			more=1
		done
	done
}

# Modules are unpacked and stripped once, into a pool that the images link to.
modules() {	# IMAGE "BOOT" "MORE"
	local image=$1 dir=lib/modules/$kernel path
	kmod modprobe -d $root -S "$kernel" --show-depends -a $2 $3 |
		awk '$1 == "insmod" { print $2 }' | sed "s|^.*/$dir/||" | sort -u >"$work/list"
	while read -r path; do
		[ -e "$work/pool/${path%.xz}" ] || echo "$path"
	done <"$work/list" | xargs -rP "$(nproc)" -I{} lab/strip-module.sh "$root/$dir/{}" "$work/pool/{}"
	while read -r path; do
		mkdir -p "$image/$dir/$(dirname "$path")"
		ln "$work/pool/${path%.xz}" "$image/$dir/$(dirname "$path")"
	done <"$work/list"
	cp $root/$dir/modules.{order,builtin,builtin.modinfo} "$image/$dir"
	kmod depmod -b "$image" "$kernel"
	echo $2 >"$image/etc/modules"
}

kmod() {
	local name=$1
	shift
	lab/inroot.sh "$name=usr/bin/kmod" "$@"
}

base() {	# IMAGE: the skeleton, busybox, the agent and lab/<image>'s files
	local image=$1 applet
	mkdir -p "$image"/{dev,proc,sys,run,tmp,mnt,root,payload,etc,var/log,var/lib,usr/bin,$lib}
	ln -s usr/bin "$image/bin"
	ln -s usr/bin "$image/sbin"
	ln -s bin "$image/usr/sbin"
	ln -s usr/lib "$image/lib"
	ln -s $lib "$image/lib64"
	ln -s /run "$image/var/run"
	cp $root/usr/bin/busybox "$image/usr/bin/"
	for applet in $($root/usr/bin/busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$image/usr/bin/$applet"
	done
	tools "$image" dash		# busybox's sh prefers its own ip, mount, ...
	ln -sf dash "$image/usr/bin/sh"
	ln -s usr/bin/init "$image/init"
	cc -O2 -Wall -o "$image/usr/bin/labd" lab/labd.c
	cc -O2 -Wall -o "$image/usr/bin/labrun" lab/labrun.c
	cp -r lab/image/. "lab/${image##*/}/." "$image/"
}

pack() {	# IMAGE
	libraries "$1"
	(cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible --owner 0:0) \
		>"$images/${1##*/}.cpio"
}

rm -rf $work $images
mkdir -p $work/pool $images

zcat $root/boot/"$xen"-amd64.gz >$images/xen
extract_vmlinux $root/boot/vmlinuz-"$kernel" $images/vmlinux

base $work/peer
tools $work/peer $tools_peer
modules $work/peer "$boot_peer" "$more_peer"
pack $work/peer

base $work/guest
tools $work/guest $tools_guest
modules $work/guest "$boot_guest" "$more_guest"
pack $work/guest

base $work/dom0
tools $work/dom0 $tools_dom0
for tool in $tools_xen; do
	install -D "$root/$xenbin/$tool" "$work/dom0/$xenbin/$tool"
	ln -sf "/$xenbin/$tool" "$work/dom0/usr/bin/$tool"
done
for terminal in l/linux v/vt100 x/xterm; do	# what vpipectl top shows its screen on
	install -Dm 644 "$root/usr/share/terminfo/$terminal" "$work/dom0/usr/share/terminfo/$terminal"
done
# By their real names: alternatives point out of the root.
install $root/usr/lib/openvswitch-switch/ovs-vswitchd $work/dom0/usr/bin/
install -D -m 644 $root/usr/share/openvswitch/vswitch.ovsschema -t $work/dom0/usr/share/openvswitch/
modules $work/dom0 "$boot_dom0" "$more_dom0"
ln $images/vmlinux $images/guest.cpio $work/dom0/root/
pack $work/dom0

(cd $images && sha256sum xen vmlinux -- *.cpio) >$images/id
rm -rf build/images
mv $images build/images
