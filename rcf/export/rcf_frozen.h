/* Scores of a frozen random cut forest, without memory of its own: a model file goes in, numbers come out.
 *
 *     rcf_model model;
 *     const char *wrong = rcf_open(&model, file, size);
 *     if (wrong == NULL) score = rcf_score(&model, x, work);
 *
 * `file` is what rcf.export.freeze() returned, at an address divisible by 8. It is used where it lies, so it must stay there.
 * `work` is model.work bytes of scratch space, also at an address divisible by 8. Threads that share a model each
 * need their own. Nothing else is written, nothing is allocated, and no function of a C library is called but memcpy.
 *
 * Compile with `cc -std=c99 -O3 -ffp-contract=off -c rcf_frozen.c`. The results then have the same bits on every machine with IEEE
 * arithmetic, and are those of rcf.
 */
#ifndef RCF_FROZEN_H
#define RCF_FROZEN_H

#include <stddef.h>
#include <stdint.h>

enum { RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH, RCF_PATH };

typedef struct {
    uint32_t features; /* of a record */
    uint32_t trees;
    uint32_t method;   /* RCF_DEPTH ..; may be changed after rcf_open */
    double threshold;  /* scores above it are anomalies, with the method that the file names */
    size_t work;       /* bytes of scratch space that a call needs */
    /* the rest is private: the tables of the file */
    uint32_t small, depth, leaf_width, dim_width, point_width;
    const double *origin, *range;
    const float *cut, *points;
    const uint32_t *sizes, *before;
    const unsigned char *point, *left, *dim, *large, *face;
} rcf_model;

/* NULL where the file is whole; otherwise what is wrong with it, and the model must not be used. */
const char *rcf_open(rcf_model *model, const void *file, size_t size);

/* How anomalous a record of model->features numbers is; NaN where one of them is not finite, or beyond 1.7e38. */
double rcf_score(const rcf_model *model, const double *x, void *work);

/* What each feature adds to the score: out[2 * i] by lying high, out[2 * i + 1] by lying low. Returns 0 where x is as above,
 * and for RCF_PATH, which measures no boxes. */
int rcf_attribution(const rcf_model *model, const double *x, void *work, double *out);

#endif
