"""The lab and the demo: a mesh of real parts on hosts made of namespaces. Linux and root only."""
