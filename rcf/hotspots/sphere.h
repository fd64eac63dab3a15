/* Places on the earth, given as latitude and longitude in degrees.
 *
 * A place becomes a point of the unit sphere in three dimensions. The length of the straight line between two such points increases
 * with their distance along the great circle. So comparing straight lines gives the same neighbours as the haversine formula, also
 * across the date line and at the poles. The sines are computed here from sums and products, because those of C libraries differ in
 * the last bit between CPUs.
 */
#ifndef RCF_SPHERE_H
#define RCF_SPHERE_H

#include <math.h>
#include <stdlib.h>

#define RCF_EARTH 6371008.8 /* metres: mean radius of the earth, (2 a + b) / 3 of the ellipsoid WGS 84 */
#define RCF_DEGREE 0.017453292519943295

/* Cosine and sine of an angle in degrees, exact at multiples of 90. The angle must be below 2^31 quarter turns. */
static inline void rcf_turn(double degrees, double *cosine, double *sine) {
    double quarters = floor(degrees / 90.0 + 0.5);
    double x = (degrees - 90.0 * quarters) * RCF_DEGREE, x2 = x * x, s = 0.0, c = 0.0;
    /* Taylor series: the first omitted term is below 3e-18 on [-pi / 4, pi / 4] */
    for (int i = 16; i > 0; i -= 2) {
        c = (1.0 + c) * (-x2 / (i * (i - 1)));
        s = (1.0 + s) * (-x2 / (i * (i + 1)));
    }
    c += 1.0;
    s = x + x * s;
    switch ((int)quarters & 3) {
        case 0: *cosine = c, *sine = s; break;
        case 1: *cosine = -s, *sine = c; break;
        case 2: *cosine = -c, *sine = -s; break;
        default: *cosine = s, *sine = -c;
    }
}

/* The angle of the vector (x, y) in degrees, from -180 to 180; 0 for the zero vector. */
static double rcf_angle(double y, double x) {
    double a = fabs(x), b = fabs(y), t, t2, power, sum = 0.0, degrees = 0.0;
    if (a == 0.0 && b == 0.0) return 0.0;
    t = a < b ? a / b : b / a;
    if (t > 0.41421356237309503) { /* tan 22.5 degrees */
        t = (t - 1.0) / (t + 1.0);
        degrees = 45.0;
    }
    t2 = t * t;
    power = t;
    for (int i = 1; i < 41; i += 4, power *= t2 * t2) sum += power / i - power * t2 / (i + 2);
    degrees += sum / RCF_DEGREE;
    if (a < b) degrees = 90.0 - degrees;
    if (x < 0.0) degrees = 180.0 - degrees;
    return y < 0.0 ? -degrees : degrees;
}

static inline void rcf_on_sphere(const double *place, double *point) {
    double across, up, east, north;
    rcf_turn(place[0], &across, &up);
    rcf_turn(place[1], &east, &north);
    point[0] = across * east;
    point[1] = across * north;
    point[2] = up;
}

/* The length of the straight line between two points of the unit sphere, given their distance along the surface in metres. */
static double rcf_chord(double metres) {
    double half = metres / (2.0 * RCF_EARTH) / RCF_DEGREE, cosine, sine;
    if (half >= 90.0) return 3.0; /* half the circumference or more, which includes all points */
    rcf_turn(half, &cosine, &sine);
    return 2.0 * sine;
}

/* Square metres of the box between two corners (latitude, longitude); a side of length zero counts as `least` metres. */
static double rcf_box_area(const double *lower, const double *upper, double least) {
    double cosine, height, width, unused;
    rcf_turn(0.5 * (lower[0] + upper[0]), &cosine, &unused);
    rcf_turn(0.5 * (upper[0] - lower[0]), &unused, &height);
    height *= 2.0 * RCF_EARTH; /* height in space, because a band of a sphere has the area of a cylinder of this height */
    width = (upper[1] - lower[1]) * RCF_DEGREE * RCF_EARTH * cosine;
    return (height > 0.0 ? height : least) * (width > 0.0 ? width : least);
}

/* Normalise a longitude to the range from -180 to below 180. */
static inline double rcf_longitude(double degrees) { return degrees >= 180.0 ? degrees - 360.0 : degrees; }

static int rcf_ascending(const void *a, const void *b) {
    double x, y;
    x = *(const double *)a;
    y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The shortest arc that contains n >= 1 sorted longitudes, each from -180 to below 180. Among equally short arcs, take one that does not
 * cross the date line, or the one that begins farthest west. The east end is above 180 if the arc crosses the date line. */
static void rcf_arc(double *longitudes, int32_t n, double *west, double *east) {
    qsort(longitudes, n, sizeof *longitudes, rcf_ascending);
    double widest = longitudes[0] + 360.0 - longitudes[n - 1];
    *west = longitudes[0];
    *east = longitudes[n - 1];
    for (int32_t i = 1; i < n; i++)
        if (longitudes[i] - longitudes[i - 1] > widest) {
            widest = longitudes[i] - longitudes[i - 1];
            *west = longitudes[i];
            *east = longitudes[i - 1] + 360.0;
        }
}

#endif
