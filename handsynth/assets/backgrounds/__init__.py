"""Backgrounds: the protocol that every source keeps, folders of images, COCO, and procedural scenes."""
