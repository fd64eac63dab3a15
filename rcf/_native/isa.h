/* The walks are compiled once per instruction set. This file builds them and chooses which are used. */
#ifndef RCF_ISA_H
#define RCF_ISA_H

#include "scores.h"
#include "tree.h"
#include "walk.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)) && !defined(RCF_DEBUG)
#define RCF_X86
#include <immintrin.h>
#endif

#define RCF_ISA(name) name##_portable
#define RCF_TARGET
#define RCF_WIDTH 0
#include "build.h"

#ifdef RCF_X86
#define RCF_ISA(name) name##_avx2
#define RCF_TARGET __attribute__((target("avx2")))
#define RCF_WIDTH 256
#include "build.h"

#define RCF_ISA(name) name##_avx512
#define RCF_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw")))
#define RCF_WIDTH 512
#include "build.h"
#endif

/* The walks in use. They are called through pointers and not cloned by the compiler, because this works with every compiler and C
 * library, and a test can run all of them on one machine. */
typedef struct {
    void (*score_pairs)(int, int, rcf_walk *, int, int, double *, ptrdiff_t);
    void (*sweep_rows)(int, const rcf_tree *, const float *, int32_t, const rcf_sweep *, double *);
    int32_t (*open_boxes)(const rcf_tree *, const float *, int32_t, rcf_step *);
    void (*widen_path)(rcf_tree *, const float *, int32_t, int32_t);
    void (*shrink_path)(rcf_tree *, int32_t);
    int32_t (*find_gap)(const float *, const float *, const float *, int, double, double *);
    int (*all_within)(const double *, int64_t, double);
    void (*logs)(double *, int32_t);
    int32_t (*partition)(const float *, int32_t *, int32_t *, int32_t, int32_t, int32_t, float, int);
    double (*hull)(float *, const float *, const float *, const float *, const float *, int);
    double (*hull_of_children)(const rcf_tree *, int32_t, float *);
    double (*hull_of_rows)(float *, const float *, const int32_t *, int32_t, int32_t, int);
} rcf_walk_table;

static rcf_walk_table rcf_walks;

#define RCF_USE(isa)                                             \
    do {                                                         \
        rcf_walks.score_pairs = rcf_score_pairs_##isa;           \
        rcf_walks.sweep_rows = rcf_sweep_rows_##isa;             \
        rcf_walks.open_boxes = rcf_open_boxes_##isa;             \
        rcf_walks.widen_path = rcf_widen_path_##isa;             \
        rcf_walks.shrink_path = rcf_shrink_path_##isa;           \
        rcf_walks.find_gap = rcf_find_gap_##isa;                 \
        rcf_walks.all_within = rcf_all_within_##isa;             \
        rcf_walks.logs = rcf_logs_##isa;                         \
        rcf_walks.partition = rcf_partition_##isa;               \
        rcf_walks.hull = rcf_hull_##isa;                         \
        rcf_walks.hull_of_children = rcf_hull_of_children_##isa; \
        rcf_walks.hull_of_rows = rcf_hull_of_rows_##isa;         \
    } while (0)

/* Use the walks for one instruction set: 0 portable, 1 AVX2, 2 AVX-512. Returns 0 if the machine does not support it. */
static int rcf_use_isa(int isa) {
    if (isa == 0) {
        RCF_USE(portable);
        return 1;
    }
#ifdef RCF_X86
    if (isa == 1 && __builtin_cpu_supports("avx2")) {
        RCF_USE(avx2);
        return 1;
    }
    if (isa == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
        RCF_USE(avx512);
        return 1;
    }
#endif
    return 0;
}

#endif
