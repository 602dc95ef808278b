"""How much there is in a part of a set: pictures, objects, classes, sizes."""

from __future__ import annotations

from collections.abc import Mapping

from ticketcli.annotations.pictures import Annotations

SMALL, LARGE = 32**2, 96**2  # pixels; COCO's limits


def census(annotations: Annotations) -> Mapping[str, int]:
    """Counts by name: images, those that are empty; objects, of which small, medium and large; crowd regions; classes.

    Crowd regions are no objects, and an image with nothing else is not empty. Classes are those that objects have.
    """
    ones = [one for picture in annotations.pictures for one in picture.instances]
    areas = [one.area for one in ones if not one.crowd]
    small, large = sum(area < SMALL for area in areas), sum(area >= LARGE for area in areas)
    return {
        "images": len(annotations.pictures),
        "empty": sum(not picture.instances for picture in annotations.pictures),
        "objects": len(areas),
        "small": small,
        "medium": len(areas) - small - large,
        "large": large,
        "crowd": len(ones) - len(areas),
        "present": len({one.label for one in ones if not one.crowd}),
        "classes": len(annotations.class_names),
    }
