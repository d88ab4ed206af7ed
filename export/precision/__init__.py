"""int8, int4 and fp16 variants of a proven fp32 file, published only when a score or the agreement allows it."""
