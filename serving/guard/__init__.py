"""What stands between a server and a network that is not trusted: nginx, and behind it a filter of what requests say.

nginx ends TLS, knows callers by their tokens and certificates, bounds connections, rates and bodies, and opens only the
paths of `routes`. The filter (`python -m serving.guard`) reads what nginx cannot: the JSON of a request, the protobuf
messages of gRPC, and whether the lengths in them are those of what was sent.
"""
