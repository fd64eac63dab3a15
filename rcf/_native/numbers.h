/* Loops over numbers that the compiler vectorizes. Included by isa.h, once per instruction set. */

/* Whether the absolute values of n numbers are all at most `limit`, which implies that they are finite. */
RCF_TARGET static int RCF_ISA(rcf_all_within)(const double *x, int64_t n, double limit) {
    int64_t beyond = 0, i = 0;
    for (; n - i >= 32; i += 32) { /* a large table is read from memory, which prefetches make a fifth faster */
        for (int k = 0; k < 32; k += 8) RCF_PREFETCH(x + i + k + 1024);
        for (int k = 0; k < 32; k++) beyond |= fabs(x[i + k]) <= limit ? 0 : -1;
    }
    for (; i < n; i++) beyond |= fabs(x[i]) <= limit ? 0 : -1;
    return beyond == 0;
}

/* Replace n positive numbers, neither infinite nor subnormal, by their natural logarithms, with the same bits as rcf_log. */
RCF_TARGET static void RCF_ISA(rcf_logs)(double *x, int32_t n) {
    for (int32_t i = 0; i < n; i++) x[i] = rcf_log_normal(x[i], 0);
}
