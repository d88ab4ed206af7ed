"""Proven versions of models in an object store: pushed once, never changed, verified by their hashes when pulled.

<store>/sha256/<hash>                     the files, by their content: what two versions share lies there once
        models/<model>/<version>.json     which files a version has, and where they belong
        models/<model>/<version>.json.sig an Ed25519 signature of that document, where it was signed
"""
