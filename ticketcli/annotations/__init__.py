"""What people drew on pictures: outlined objects in COCO's format, read, checked and written without torch."""
