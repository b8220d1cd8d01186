"""Rules that others have on hosts: shaped like what Docker, firewalld and ufw put there."""

DOCKER = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 18080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""

FIREWALLD = """\
*nat
:PREROUTING_direct - [0:0]
:PREROUTING_ZONES - [0:0]
:PRE_public - [0:0]
:PRE_public_allow - [0:0]
:OUTPUT_direct - [0:0]
-A PREROUTING -j PREROUTING_direct
-A PREROUTING -j PREROUTING_ZONES
-A OUTPUT -j OUTPUT_direct
-A PREROUTING_ZONES -g PRE_public
-A PRE_public -j PRE_public_allow
-A PRE_public_allow -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 8443
COMMIT
*filter
:INPUT_ZONES - [0:0]
:IN_public - [0:0]
:IN_public_allow - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -j INPUT_ZONES
-A INPUT_ZONES -g IN_public
-A IN_public -j IN_public_allow
-A IN_public_allow -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
-A IN_public_allow -p tcp -m tcp --dport 8080 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
COMMIT
*mangle
:PREROUTING_ZONES - [0:0]
-A PREROUTING -j PREROUTING_ZONES
COMMIT
*raw
:PREROUTING_ZONES - [0:0]
-A PREROUTING -j PREROUTING_ZONES
COMMIT
"""

UFW = """\
*filter
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-after-logging-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-user-input
-A INPUT -j ufw-after-logging-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 8080 -m comment --comment "\\'dapp_web\\'" -j ACCEPT
COMMIT
"""

NATIVE = """\
table inet foreign {
	set banned {
		type ipv4_addr
		elements = { 192.0.2.66, 192.0.2.67 }
	}
	chain input {
		type filter hook input priority 10; policy accept;
		ip saddr @banned drop
	}
}
"""

IPTABLES = {"docker": DOCKER, "firewalld": FIREWALLD, "ufw": UFW}
"""Loaded by iptables-restore --noflush, one after the other."""
