#!/bin/sh
# What is on a host, one thing a line: files with owner and mode, users, packages, units, firewall. Run before an installation
# and after its removal; the difference is what stayed behind. Caches, logs and the package manager's own records are not in it.
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /root \
    -o -path /var/cache -o -path /var/log -o -path /var/tmp -o -path /var/lib/apt -o -path /var/lib/dpkg \
    -o -path /var/lib/systemd -o -path /var/backups \) -prune -o -printf '%y %M %u:%g %p\n'
getent passwd | sed 's/^/user /'
getent group | sed 's/^/group /'
dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package}\n'
systemctl list-unit-files --no-legend --no-pager | awk '{print "unit " $1 " " $2}'
systemctl list-units --all --type=service,socket,timer,mount --no-legend --no-pager --plain 'streamfleet*' | sed 's/^/loaded /'
nft list ruleset | sed 's/^/firewall /'
find /run /tmp -path /run/sudo -prune -o -name '*streamfleet*' -printf 'volatile %p\n' 2>/dev/null
exit 0
