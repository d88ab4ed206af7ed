"""int8 and fp16 variants of a proven fp32 file, published only when the recipe's own score allows it."""
