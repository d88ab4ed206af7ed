"""Tensors that client and server read and write in the same memory, where both are on one machine.

`region` is a piece of that memory, `pool` keeps it for the next call, `placing` lays a request's tensors into it,
`memory` is what a client knows of it all, and `leaving` clears up behind a process that ends.
Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""
