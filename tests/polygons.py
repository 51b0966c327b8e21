"""Polygons cut one pair at a time, in plain Python, to check what is computed for many at once."""


def area(polygon):
    """The area of a list of corners; negative if they turn the other way."""
    return sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(polygon, [*polygon[1:], *polygon[:1]])) / 2


def cut(polygon, convex):
    """The corners of what two polygons have in common, by Sutherland and Hodgman. The second one must be convex."""
    polygon, convex = ([tuple(map(float, corner)) for corner in corners] for corners in (polygon, convex))
    if area(convex) < 0:
        convex = convex[::-1]
    for a, b in zip(convex, [*convex[1:], convex[0]]):
        result = []
        for p, q in zip(polygon, [*polygon[1:], *polygon[:1]]):
            at_p, at_q = _turn(a, b, p), _turn(a, b, q)
            if at_p >= 0:
                result.append(p)
            if (at_p < 0) != (at_q < 0):
                share = at_p / (at_p - at_q)
                result.append((p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])))
        polygon = result
    return polygon


def common_area(*polygons):
    """The area that all of some polygons have in common. All but the first must be convex."""
    common = polygons[0]
    for polygon in polygons[1:]:
        common = cut(common, polygon)
    return abs(area(common))


def _turn(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
