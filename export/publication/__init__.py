"""From weights to a published version: convert, prove, publish; or nothing, and the reason."""
