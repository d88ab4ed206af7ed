"""Downloaded folders of transformers models: read offline, proven against transformers itself, published."""
