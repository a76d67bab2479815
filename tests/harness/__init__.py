"""What `make demo` and the end-to-end tests share: a cluster to run on, the installed chart, and kubectl."""
