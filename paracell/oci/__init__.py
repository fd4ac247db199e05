"""An OCI runtime: the verbs of runtime-spec over containers of ours, with the command line of runc."""
