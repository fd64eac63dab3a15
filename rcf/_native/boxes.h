/* Boxes: the distance of a record from a box, and unions of boxes. Included by isa.h, once per instruction set. */

/* |x - clamp(x)| in eight features. The clamp is exact in float, so the difference is exact in double. It is 0 if and only if the
 * box contains x. */
RCF_LOCAL RCF_ISA(d8) RCF_ISA(rcf_eight_gaps)(const float *lower, const float *upper, const float *x) {
    RCF_ISA(f8) at = RCF_ISA(load8)(x);
    return RCF_ISA(distance8)(at, RCF_ISA(clamp8)(at, RCF_ISA(load8)(lower), RCF_ISA(load8)(upper)));
}

/* The distances from the box in all features, summed by lane. */
RCF_LOCAL RCF_ISA(d8) RCF_ISA(rcf_gaps)(const float *lower, const float *upper, const float *x, int stride) {
    if (stride <= 4) {
        RCF_ISA(f4) at = RCF_ISA(load4)(x, stride);
        return RCF_ISA(widen)(RCF_ISA(distance4)(at, RCF_ISA(clamp4)(at, RCF_ISA(load4)(lower, stride), RCF_ISA(load4)(upper, stride))));
    }
    RCF_ISA(d8) lanes = RCF_ISA(rcf_eight_gaps)(lower, upper, x);
    for (int b = 8; b < stride; b += 8) lanes = RCF_ISA(add8)(lanes, RCF_ISA(rcf_eight_gaps)(lower + b, upper + b, x + b));
    return lanes;
}

/* The distance of x from the box, summed over the features. */
RCF_LOCAL double RCF_ISA(rcf_excess)(const float *restrict lower, const float *restrict upper, const float *restrict x, int stride) {
    if (stride <= 4) { /* four more lanes, which would hold zeros, would take a fifth more time */
        RCF_ISA(f4) at = RCF_ISA(load4)(x, stride);
        return RCF_ISA(sum4)(RCF_ISA(distance4)(at, RCF_ISA(clamp4)(at, RCF_ISA(load4)(lower, stride), RCF_ISA(load4)(upper, stride))));
    }
    return RCF_ISA(sum8)(RCF_ISA(rcf_gaps)(lower, upper, x, stride));
}

/* The same for RCF_TOGETHER pairs. */
RCF_LOCAL RCF_ISA(pd) RCF_ISA(rcf_excesses)(const float *const *box, const float *const *x, int stride) {
    if (RCF_TOGETHER == 1) return RCF_ISA(all_pd)(RCF_ISA(rcf_excess)(box[0], box[0] + stride, x[0], stride));
    RCF_ISA(d8) lanes[RCF_TOGETHER];
    for (int g = 0; g < RCF_TOGETHER; g++) lanes[g] = RCF_ISA(rcf_gaps)(box[g], box[g] + stride, x[g], stride);
    return RCF_ISA(sums)(lanes);
}

#if RCF_WIDTH == 512

/* Write the corners of a box to `wide` as doubles, each padded with zeros to a multiple of eight. It pays if many records meet the
 * box. */
RCF_LOCAL void RCF_ISA(rcf_widen_box)(double *wide, const float *box, int stride) {
    for (int side = 0; side < 2; side++)
        for (int b = 0; b < stride; b += 8, wide += 8)
            _mm512_storeu_pd(wide, _mm512_cvtps_pd(RCF_ISA(load_row)(box + side * stride + b, stride)));
}

/* The distances of RCF_TOGETHER records from one box. The results have the same bits as those of rcf_excesses. With 10 features it
 * takes two thirds of the time, because it converts half as many numbers, and because the maxima are those of integers: the units
 * that add are the busiest ones, and they compute the maxima of doubles too. Two negative numbers compare wrongly, but then the
 * result is 0. */
RCF_LOCAL __m512d RCF_ISA(rcf_excesses_of_one)(const float *box, const double *restrict wide, const float *const *x, int stride) {
    const double *lower = wide, *upper = wide + (stride + 7) / 8 * 8;
    __m512d lanes[RCF_TOGETHER];
    (void)box;
    for (int g = 0; g < RCF_TOGETHER; g++) {
        lanes[g] = _mm512_setzero_pd();
        for (int b = 0; b < stride; b += 8) {
            __m512d at = _mm512_cvtps_pd(RCF_ISA(load_row)(x[g] + b, stride));
            __m512i below = _mm512_castpd_si512(_mm512_sub_pd(_mm512_loadu_pd(lower + b), at));
            __m512i above = _mm512_castpd_si512(_mm512_sub_pd(at, _mm512_loadu_pd(upper + b)));
            __m512i gap = _mm512_max_epi64(_mm512_max_epi64(below, above), _mm512_setzero_si512());
            lanes[g] = b > 0 ? _mm512_add_pd(lanes[g], _mm512_castsi512_pd(gap)) : _mm512_castsi512_pd(gap);
        }
    }
    return RCF_ISA(sums)(lanes);
}

#else

RCF_LOCAL void RCF_ISA(rcf_widen_box)(double *wide, const float *box, int stride) { (void)wide, (void)box, (void)stride; }
RCF_LOCAL RCF_ISA(pd) RCF_ISA(rcf_excesses_of_one)(const float *box, const double *wide, const float *const *x, int stride) {
    (void)wide;
    return RCF_ISA(all_pd)(RCF_ISA(rcf_excess)(box, box + stride, x[0], stride));
}

#endif

/* Write the hull of a and b in eight features to `lower` and `upper`. Returns the side lengths. `differs` becomes nonzero if
 * the hull changed. */
RCF_LOCAL RCF_ISA(d8) RCF_ISA(rcf_join_eight)(float *lower, float *upper, const float *a_lower, const float *a_upper,
                                              const float *b_lower, const float *b_upper, int *differs) {
    RCF_ISA(f8) low = RCF_ISA(min8)(RCF_ISA(load8)(a_lower), RCF_ISA(load8)(b_lower));
    RCF_ISA(f8) high = RCF_ISA(max8)(RCF_ISA(load8)(a_upper), RCF_ISA(load8)(b_upper));
    *differs |= RCF_ISA(differ8)(low, RCF_ISA(load8)(lower), high, RCF_ISA(load8)(upper));
    RCF_ISA(store8)(lower, low);
    RCF_ISA(store8)(upper, high);
    return RCF_ISA(minus8)(high, low);
}

/* Write the hull of the boxes a and b to `box`, which may be one of the two. Returns the range of the hull (the sum of its sides),
 * and whether `box` changed. */
RCF_LOCAL double RCF_ISA(rcf_join)(float *box, const float *a_lower, const float *a_upper, const float *b_lower,
                                   const float *b_upper, int stride, int *changed) {
    float *lower = box, *upper = box + stride;
    if (stride <= 4) {
        RCF_ISA(f4) low = RCF_ISA(min4)(RCF_ISA(load4)(a_lower, stride), RCF_ISA(load4)(b_lower, stride));
        RCF_ISA(f4) high = RCF_ISA(max4)(RCF_ISA(load4)(a_upper, stride), RCF_ISA(load4)(b_upper, stride));
        *changed = RCF_ISA(differ4)(low, RCF_ISA(load4)(lower, stride), high, RCF_ISA(load4)(upper, stride)) != 0;
        RCF_ISA(store4)(lower, low, stride);
        RCF_ISA(store4)(upper, high, stride);
        return RCF_ISA(sum4)(RCF_ISA(minus4)(high, low));
    }
    int differs = 0;
    RCF_ISA(d8) lanes = RCF_ISA(rcf_join_eight)(lower, upper, a_lower, a_upper, b_lower, b_upper, &differs);
    for (int b = 8; b < stride; b += 8)
        lanes = RCF_ISA(add8)(lanes, RCF_ISA(rcf_join_eight)(lower + b, upper + b, a_lower + b, a_upper + b, b_lower + b, b_upper + b,
                                                             &differs));
    *changed = differs != 0;
    return RCF_ISA(sum8)(lanes);
}

/* The gaps between x and the box, end to end: the feature in whose gap u lies, and how far into it. x lies outside the box.
 * Features go by eights: the chain of subtractions, each of which waits for the one before, is short. */
RCF_TARGET static int32_t RCF_ISA(rcf_find_gap)(const float *lower, const float *upper, const float *x, int stride, double u,
                                                double *within) {
    double gaps[8];
    int begin = 0, last = 0;
    for (int b = 0; stride > 8 && b < stride; b += 8) {
        RCF_ISA(store_d8)(gaps, RCF_ISA(rcf_gaps)(lower + b, upper + b, x + b, 8));
        double sum = rcf_add_lanes(gaps);
        if (sum == 0.0) continue;
        begin = b;
        if (u < sum) break;
        u -= sum;
    }
    /* if rounding leaves u past the end, take any place in a gap of the last eight features */
    RCF_ISA(store_d8)(gaps, RCF_ISA(rcf_gaps)(lower + begin, upper + begin, x + begin, stride <= 4 ? stride : 8));
    for (int i = 0; i < 8; i++) {
        last = gaps[i] > 0.0 ? i : last;
        if (u < gaps[i]) break;
        u -= gaps[i];
    }
    *within = u < gaps[last] ? u : gaps[last];
    return begin + last;
}

RCF_TARGET static double RCF_ISA(rcf_hull)(float *box, const float *a_lower, const float *a_upper,
                                           const float *b_lower, const float *b_upper, int stride) {
    int changed;
    return RCF_ISA(rcf_join)(box, a_lower, a_upper, b_lower, b_upper, stride, &changed);
}

/* Write the hull of rows[order[begin:end]] to `box`. Returns its range. */
RCF_TARGET static double RCF_ISA(rcf_hull_of_rows)(float *restrict box, const float *restrict rows,
                                                   const int32_t *order, int32_t begin, int32_t end, int stride) {
    RCF_ISA(d8) lanes = {0};
    for (int b = 0; b < stride; b += 8) { /* eight features stay in registers */
        RCF_ISA(f8) low = RCF_ISA(load_row)(rows + (size_t)order[begin] * stride + b, stride), high = low;
        for (int32_t k = begin + 1; k < end; k++) {
            RCF_ISA(f8) at = RCF_ISA(load_row)(rows + (size_t)order[k] * stride + b, stride);
            low = RCF_ISA(min8)(low, at);
            high = RCF_ISA(max8)(high, at);
        }
        RCF_ISA(store_row)(box + b, low, stride);
        RCF_ISA(store_row)(box + stride + b, high, stride);
        RCF_ISA(d8) sides = RCF_ISA(minus8)(high, low);
        lanes = RCF_ISA(add8)(lanes, sides);
    }
    return RCF_ISA(sum8)(lanes);
}
