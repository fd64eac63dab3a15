/* The score of a walk at its end, for each kind of score. */
#ifndef RCF_SCORES_H
#define RCF_SCORES_H

#include "portable_math.h"
#include "tree.h"

enum { RCF_DEPTH, RCF_CODISP, RCF_DISPLACEMENT, RCF_OPENSEARCH, RCF_PATH };

/* log2(n), 1 / (h + 1) and c(n) for small arguments, filled when the library is loaded. */
#define RCF_TABLE 4096
static double rcf_log2_table[RCF_TABLE], rcf_inverse_table[RCF_TABLE], rcf_length_table[RCF_TABLE];

/* c(n), the mean path length of a tree of n records, which IsolationForest divides by:
 * 2 H(n - 1) - 2 (n - 1) / n, with the harmonic number H(k) taken as ln(k) + Euler's constant from k = 2 on, as scikit-learn does. */
static double rcf_mean_length(int32_t n) {
    if (n < 3) return n == 2;
    return 2.0 * (rcf_log(n - 1.0) + 0.57721566490153286061) - 2.0 * (n - 1.0) / n;
}

static void rcf_fill_tables(void) {
    rcf_log2_table[0] = 0;
    for (int i = 1; i < RCF_TABLE; i++) rcf_log2_table[i] = rcf_log2((double)i);
    for (int i = 0; i < RCF_TABLE; i++) rcf_inverse_table[i] = 1.0 / (i + 1.0);
    for (int i = 0; i < RCF_TABLE; i++) rcf_length_table[i] = rcf_mean_length(i);
}

RCF_INLINE double rcf_log2_count(int32_t n) {
    return n < RCF_TABLE ? rcf_log2_table[n] : rcf_log2((double)n);
}
RCF_INLINE double rcf_inverse(int32_t h) { return h < RCF_TABLE ? rcf_inverse_table[h] : 1.0 / (h + 1.0); }

RCF_INLINE double rcf_length(int32_t n) { return n < RCF_TABLE ? rcf_length_table[n] : rcf_mean_length(n); }

/* The path length to a leaf of m records at depth h in a tree of n, divided by the mean path length. The m records of the leaf count as
 * a tree of m records. If the tree has fewer than two records, the result is 1. */
RCF_INLINE double rcf_value_path(int32_t h, int32_t m, int32_t n) { return n < 2 ? 1.0 : (h + rcf_length(m)) / rcf_length(n); }

/* The score of x if a cut directly above a subtree of `mass` records at depth h separates x from it. `above` is M, the largest mass
 * ratio above. */
RCF_INLINE double rcf_value_separated(int kind, int32_t h, int32_t mass, double above) {
    if (kind == RCF_CODISP) return above > mass ? above : (double)mass;
    if (kind == RCF_DISPLACEMENT) return (double)mass;
    return rcf_inverse(h);
}

/* The score of x if no cut can separate it, because it equals a leaf of m records at depth h in a tree of n. */
RCF_INLINE double rcf_value_equal(int kind, int32_t h, int32_t m, int32_t n, double above) {
    if (kind == RCF_CODISP) return above;
    if (kind == RCF_DISPLACEMENT) return 0.0;
    if (kind == RCF_OPENSEARCH) return (1.0 - m / (2.0 * n)) / (h + rcf_log2_count(m + 1));
    if (h == 0) return 1.0 / (m + 1.0); /* a single distinct value: the result of Kinesis */
    return 1.0 / (h + rcf_log2_count(m));
}

RCF_INLINE double rcf_scale(int kind, int32_t n) {
    if (kind == RCF_DEPTH) return rcf_log2_count(n);
    if (kind == RCF_OPENSEARCH) return rcf_log2_count(n + 1);
    return 1.0;
}

/* The score of a forest, from the mean value of its trees. */
RCF_INLINE double rcf_score_of_mean(int kind, double mean) { return kind == RCF_PATH ? rcf_exp2(-mean) : mean; }

/* M on the way to x: ratios[h] is the largest over the ancestors of the node at depth h. Returns that of the leaf. */
RCF_INLINE double rcf_ratios(const rcf_tree *t, const float *x, double *ratios) {
    int32_t v = t->root, h = 0;
    double largest = 0.0;
    while (v >= 0) {
        ratios[h++] = largest;
        int32_t next = rcf_next(t->compact, t->cuts + v, x);
        int32_t mass = rcf_mass(t, next);
        double ratio = (double)(rcf_mass(t, v) - mass) / (mass + 1.0);
        largest = ratio > largest ? ratio : largest;
        v = next;
    }
    return largest;
}

#endif
