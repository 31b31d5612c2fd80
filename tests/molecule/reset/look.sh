#!/bin/sh
# Writes to FILE what a host is, one fact a line, sorted for comm(1). Left out is what the tools of
# any run keep for themselves: package databases and caches, Python's byte code, systemd's state; and
# /var/lib/kubelet itself, which is a mount on these hosts, that no package manager can remove.
set -eu
export LC_ALL=C
exec >"$1.unsorted"
find /boot /etc /home /srv /usr /var/lib /var/log -xdev \
    \( -path /usr/lib/sysimage -o -path '/var/lib/dnf' -o -path '/var/lib/systemd' -o -path '/var/log/journal' -o -path /var/lib/kubelet \
    -o -name __pycache__ -o -name ld.so.cache -o -name 'dnf5.log*' \) -prune \
    -o -printf 'file %y %m %u %g %p %l\n'
find /etc /usr/lib/systemd -xdev -type f ! -name ld.so.cache -exec sha256sum {} + | sed 's/^/content /'
for place in /var/lib/containers /var/lib/kubelet /var/lib/containerd /var/log; do
    find "$place" -mindepth 1 -maxdepth 1 ! -name 'dnf5.log*' ! -name journal -printf 'place %y %p\n'
done
ls -A /run /run/lock | sed 's/^/run /'
rpm -qa --qf 'package %{name}-%{version}\n'
systemctl list-unit-files --no-legend --no-pager | while read -r unit state _; do
    echo "unit $unit $state"
done
systemctl list-units --no-legend --no-pager --plain --state=active --type=service,slice,mount,socket,timer |
    while read -r unit _; do
        case $unit in
            user@* | user-* | run-* | session* | dnf*) ;;
            systemd-tmpfiles* | systemd-update* | systemd-hostnamed* | systemd-timedated*) ;;
            *) echo "active $unit" ;;
        esac
    done
sysctl -a 2>/dev/null | grep -E '^(net\.ipv4\.ip_forward|net\.ipv[46]\.conf\.(all|default|eth0)\.(forwarding|rp_filter|route_localnet)|net\.bridge\.|vm\.(overcommit_memory|panic_on_oom)|kernel\.panic)' | sed 's/^/sysctl /'
ip -brief address | sed 's/@[^ ]*//; s/^/address /'
ip route show table all | sed 's/^/route /'
# Tables of iptables stay, with chains that have no rule and let all pass.
nft list ruleset | tr '\t' ' ' | grep -v -E '^(table ip6? (filter|nat|mangle) \{| *chain [A-Z]+ \{|.*; policy accept;| *\}|)$' |
    sed 's/^/nft /'
findmnt --noheadings --raw --output TARGET,FSTYPE | sed 's/^/mount /'
find /sys/fs/cgroup -maxdepth 2 -name 'kubepods*' | sed 's/^/cgroup /'
ps -eo comm= | grep -v -E '^(sh|find|ps|sort|sed|awk|grep|python.*|\(.*)$' | sed 's/^/process /'
getent passwd | sed 's/^/user /'
getent group | sed 's/^/group /'
sort -u "$1.unsorted" >"$1"
rm "$1.unsorted"
