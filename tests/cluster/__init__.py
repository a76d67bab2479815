"""The local cluster: a real Kubernetes of two nodes on this machine, without virtual machines and without internet.

`python -m tests.cluster` is its command line. From the edge inwards: `lifecycle` brings the cluster up and down with
`network`, `nodes` and `control_plane`, which say what runs; `build` and `images` make what they run; `processes`,
`cgroups`, `pki`, `oci` and `api` do what any of them needs; `settings` says where everything is. Standard library only:
it runs before anything is installed.
"""
