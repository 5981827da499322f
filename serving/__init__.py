"""Everything that knows TorchServe: archives, the handler, starting a server, calling one."""
