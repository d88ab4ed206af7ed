"""How requests travel: `http_message` and `grpc_message` write and read them, and know nothing of sockets; below those
are the libraries that carry them, one blocking and one for asyncio for each protocol."""
