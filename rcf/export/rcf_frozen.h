/* Scores and attributions of a frozen random cut forest, without memory allocation:
 *
 *     rcf_model model;
 *     const char *wrong = rcf_open(&model, file, size);
 *     if (wrong == NULL) score = rcf_score(&model, x, work);
 *
 * `file` holds the bytes of rcf.export.freeze(). They are used in place and must stay in memory. `work` points to model.work bytes
 * of scratch space; each thread needs its own. All addresses must be divisible by 8. The functions write to no other memory, and
 * the only library function that they call is memcpy.
 *
 * The file contains no boxes. By default, each score computes the boxes that it needs from the points. After rcf_keep_boxes(),
 * which keeps all boxes in memory, a score takes a seventh of the time.
 *
 * Compile with `cc -std=c99 -O3 -ffp-contract=off -c rcf_frozen.c`. The results then equal those of rcf, bit for bit, on every
 * machine with IEEE arithmetic.
 */
#ifndef RCF_FROZEN_H
#define RCF_FROZEN_H

#include <stddef.h>
#include <stdint.h>

enum { RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH, RCF_PATH };

typedef struct {
    uint32_t features; /* number of features of a record */
    uint32_t trees;
    uint32_t method;  /* RCF_DEPTH to RCF_PATH; may be changed after rcf_open */
    double threshold; /* scores above it are anomalies; it belongs to the method in the file */
    size_t work;      /* bytes of scratch space that a call needs */
    size_t memory;    /* bytes that rcf_keep_boxes needs */
    /* the other members are private: the tables of the file, and the boxes */
    uint32_t nodes, depth, node_width, point_width;
    size_t stride, box;
    const double *origin;
    const uint32_t *sizes, *before;
    const float *cut, *points;
    const unsigned char *node, *point;
    unsigned char *boxes;
} rcf_model;

/* Returns NULL if the file is valid. Otherwise returns a text that says what is wrong, and the model must not be used. */
const char *rcf_open(rcf_model *model, const void *file, size_t size);

/* Computes all boxes once and keeps them in `memory`, which must have model->memory bytes and remain allocated. */
void rcf_keep_boxes(rcf_model *model, void *memory);

/* The anomaly score of a record of model->features numbers; NaN if one of them is NaN or exceeds 1.7e38 in size. */
double rcf_score(const rcf_model *model, const double *x, void *work);

/* The part of the score of each feature i: out[2 * i] for a high value, out[2 * i + 1] for a low value. Returns 0 if a number is
 * NaN or exceeds 1.7e38 in size. For RCF_PATH it always returns 0, because that score uses no boxes. */
int rcf_attribution(const rcf_model *model, const double *x, void *work, double *out);

#endif
