"""Pictures for people: what a network found, drawn onto the image."""
