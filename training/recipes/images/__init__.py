"""An image in: classes, masks, boxes or another image out."""
