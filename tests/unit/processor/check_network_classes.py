"""Judge the engine's classes of addresses by the standard library's `ipaddress`, an opinion that is not ours.

For addresses at and around every border of the registries, and random ones: what `ipaddress` does not call global is
not public to us; what it does call global and we refuse lies in the blocks named below, each refused for a reason.
The standard library of a new Python knows more blocks, so both directions are asked of whatever runs this.
usage: check_network_classes.py CLASSIFY
"""

from __future__ import annotations

import ipaddress
import random
import subprocess
import sys

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PUBLIC = 0

# Refused by us though `ipaddress` (of some version) says global.
STRICTER = [
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # a cloud's own service for its machines
        "192.88.99.0/24",  # relays of 6to4
        "224.0.0.0/4",  # multicast is global for some of its addresses
        "192.0.0.0/24",  # newer versions except two addresses
        "64:ff9b::/96",  # NAT64, judged by the address inside
        "64:ff9b:1::/48",  # NAT64 of local use
        "::/96",  # IPv4 in IPv6
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "2001::/23",  # protocol assignments, with exceptions in newer versions
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation, since RFC 9637
        "5f00::/16",  # segment routing, since RFC 9602
        "fec0::/10",  # site-local
        "ff00::/8",
    )
]
# Not given to anybody: ipaddress calls what no registry names global.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

BORDERS = [
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24",
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4",
    "240.0.0.0/4 168.63.129.16/32",
    "::/128 ::1/128 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2000::/3 2001::/32",
    "2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8",
]


def around(network: Network) -> list[Address]:
    kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    top = 2**network.max_prefixlen - 1
    first, last = int(network.network_address), int(network.broadcast_address)
    numbers = {first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1}
    return [kind(number) for number in sorted(numbers) if 0 <= number <= top]


def addresses() -> list[Address]:
    found: list[Address] = []
    for line in BORDERS:
        for text in line.split():
            network = ipaddress.ip_network(text)
            found += around(network)
            low, high = int(network.network_address), int(network.broadcast_address)
            kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
            found += [kind(random.randint(low, high)) for _ in range(200)]
    found += [ipaddress.IPv4Address(random.getrandbits(32)) for _ in range(20000)]
    found += [ipaddress.IPv6Address(random.getrandbits(128)) for _ in range(5000)]
    found += [ipaddress.IPv6Address((0b001 << 125) | random.getrandbits(125)) for _ in range(5000)]
    found += [ipaddress.IPv6Address((0x64FF9B << 96) | random.getrandbits(32)) for _ in range(5000)]
    return found


def complaint(address: Address, is_public: bool) -> str | None:
    if isinstance(address, ipaddress.IPv6Address) and address in ipaddress.ip_network("64:ff9b::/96"):
        inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if is_public and not inside.is_global:
            return f"{address}: public, but {inside} inside is not"
        return None
    if is_public and (not address.is_global or address.is_multicast):
        return f"{address}: public, but not global"
    if not is_public and address.is_global:
        if address.version == 6 and address not in GLOBAL_UNICAST:
            return None
        if not any(address in network for network in STRICTER if network.version == address.version):
            return f"{address}: refused, but global"
    return None


def main(arguments: list[str]) -> int:
    random.seed(4)
    asked = addresses()
    ran = subprocess.run(
        arguments[:1], input="".join(f"{address}\n" for address in asked), capture_output=True, text=True, check=True
    )
    classes = [int(line) for line in ran.stdout.split()]
    if len(classes) != len(asked):
        print(f"{len(asked)} addresses, {len(classes)} classes", file=sys.stderr)
        return 1
    wrong = [
        text for address, number in zip(asked, classes, strict=True) if (text := complaint(address, number == PUBLIC))
    ]
    public = classes.count(PUBLIC)
    print(f"{len(asked)} addresses, {public} public, {len(wrong)} wrong")
    for text in wrong[:20]:
        print(text, file=sys.stderr)
    return 1 if wrong or not public or public == len(asked) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
