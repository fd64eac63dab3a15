/* Partitions of rows at a cut. Included by isa.h, once per instruction set. */

#if RCF_WIDTH == 512
/* Write the first n of sixteen numbers. */
RCF_LOCAL void RCF_ISA(put_rows)(int32_t *to, int32_t n, __m512i a) {
    _mm512_mask_storeu_epi32(to, n >= 16 ? 0xffff : (__mmask16)((1 << n) - 1), a);
}
#endif

/* Partition order[begin:end] with the rows at or below the cut first; each side keeps its order. Returns the begin of the second.
 * `spare` has 16 places more than there are rows. With AVX-512, sixteen rows at a time take half as long as one by one. */
RCF_TARGET static int32_t RCF_ISA(rcf_partition)(const float *rows, int32_t *order, int32_t *spare, int32_t begin, int32_t end,
                                                 int32_t dim, float cut, int stride) {
    int32_t left = begin, right = 0;
#if RCF_WIDTH == 512
    for (int32_t k = begin; k < end; k += 16) {
        __mmask16 there = end - k >= 16 ? 0xffff : (__mmask16)((1 << (end - k)) - 1);
        __m512i row = _mm512_maskz_loadu_epi32(there, order + k);
        __m512 x = _mm512_i32gather_ps(_mm512_mullo_epi32(row, _mm512_set1_epi32(stride)), rows + dim, sizeof(float));
        __mmask16 above = _mm512_mask_cmp_ps_mask(there, x, _mm512_set1_ps(cut), _CMP_GT_OQ), below = there & ~above;
        RCF_ISA(put_rows)(order + left, __builtin_popcount(below), _mm512_maskz_compress_epi32(below, row));
        _mm512_storeu_si512(spare + right, _mm512_maskz_compress_epi32(above, row));
        left += __builtin_popcount(below);
        right += __builtin_popcount(above);
    }
    for (int32_t k = 0; k < right; k += 16) RCF_ISA(put_rows)(order + left + k, right - k, _mm512_loadu_si512(spare + k));
#else
    for (int32_t k = begin; k < end; k++) {
        int32_t row = order[k];
        int32_t above = rows[(size_t)row * stride + dim] > cut;
        order[left] = row;
        spare[right] = row;
        left += 1 - above;
        right += above;
    }
    memcpy(order + left, spare, (size_t)right * sizeof(int32_t));
#endif
    return left;
}
