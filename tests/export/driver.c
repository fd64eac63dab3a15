/* driver score MODEL QUERIES OUT: scores, then attributions, as doubles.
 * driver damage MODEL QUERIES N: tries N damaged copies of the model, each in a block of exactly its size; accepted ones must work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rcf_frozen.h"

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(3);
    *size = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*size + 1);
    if (bytes == NULL || fread(bytes, 1, *size, file) != *size) exit(3);
    fclose(file);
    return bytes;
}

static uint32_t crc_of(const unsigned char *at, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (; n > 0; n--, at++) {
        crc ^= *at;
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static uint64_t state = 88172645463325252ULL;
static uint64_t below(uint64_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

static double use(rcf_model *model, const double *x, size_t n_numbers) {
    void *work = malloc(model->work), *boxes = malloc(model->memory + 1);
    double *parts = malloc(16 * (size_t)model->features), *row = calloc(model->features, 8), total = 0.0;
    if (work == NULL || boxes == NULL || parts == NULL || row == NULL) exit(4);
    for (size_t r = 0; r < 8; r++) {
        for (size_t i = 0; i < model->features; i++) row[i] = x[(r * 7 + i) % n_numbers];
        if (r == 4) rcf_keep_boxes(model, boxes);
        total += rcf_score(model, row, work);
        rcf_attribution(model, row, work, parts);
        total += parts[0];
    }
    free(work);
    free(boxes);
    free(parts);
    free(row);
    return total;
}

static void damage(const unsigned char *whole, size_t size, const double *x, size_t n_numbers, long many) {
    long refused = 0, accepted = 0;
    double total = 0.0;
    for (long n = 0; n < many; n++) {
        size_t left = below(8) == 0 ? below(size + 1) : size; /* one in eight copies is cut off */
        unsigned char *bytes = malloc(left ? left : 1);
        if (bytes == NULL) exit(4);
        memcpy(bytes, whole, left);
        for (uint64_t k = 1 + below(3); k > 0 && left > 0; k--) {
            size_t at = below(4) == 0 ? below(left < 56 ? left : 56) : below(left);
            uint64_t value = below(2) ? below(256) : bytes[at] ^ UINT64_C(1) << below(8);
            bytes[at] = (unsigned char)value;
        }
        if (below(4) != 0 && left >= 56) { /* most have a valid size and checksum, because otherwise no other check would be reached */
            uint64_t length = left;
            memcpy(bytes + 16, &length, 8);
            uint32_t crc = crc_of(bytes + 12, left - 12);
            memcpy(bytes + 8, &crc, 4);
        }
        rcf_model model;
        if (rcf_open(&model, bytes, left) != NULL) refused++;
        else if (model.work < 1 << 20 && model.memory < 1 << 24) {
            total += use(&model, x, n_numbers);
            accepted++;
        }
        free(bytes);
    }
    printf("%ld %ld %d\n", refused, accepted, total == total);
}

int main(int argc, char **argv) {
    size_t size, n;
    if (argc != 5) return 2;
    void *file = read_file(argv[2], &size);
    double *x = read_file(argv[3], &n);
    if (strcmp(argv[1], "damage") == 0) {
        damage(file, size, x, n / 8, atol(argv[4]));
        free(file);
        free(x);
        return 0;
    }
    rcf_model model;
    const char *wrong = rcf_open(&model, file, size);
    if (wrong != NULL) {
        puts(wrong);
        free(file);
        free(x);
        return 1;
    }
    size_t rows = n / 8 / model.features, width = 2 * (size_t)model.features;
    double *out = malloc(rows * (1 + width) * 8 + 1);
    void *work = malloc(model.work), *boxes = malloc(model.memory + 1);
    if (out == NULL || work == NULL || boxes == NULL) return 4;
    for (size_t r = 0; r < rows; r++) {
        out[r] = rcf_score(&model, x + r * model.features, work);
        rcf_attribution(&model, x + r * model.features, work, out + rows + r * width);
    }
    rcf_keep_boxes(&model, boxes); /* the results must have the same bits */
    for (size_t r = 0; r < rows; r++) {
        double again = rcf_score(&model, x + r * model.features, work);
        if (memcmp(&again, out + r, sizeof again) != 0) return 5;
    }
    FILE *to = fopen(argv[4], "wb");
    if (to == NULL || fwrite(out, 8, rows * (1 + width), to) != rows * (1 + width)) return 3;
    fclose(to);
    free(out);
    free(work);
    free(boxes);
    free(file);
    free(x);
    return 0;
}
