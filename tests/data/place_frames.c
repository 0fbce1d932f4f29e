/* Puts the pixels of frames where a table says. It knows nothing of zarr or TIFF.

   place_frames TABLE FILES ARRAYS FRAMES FIRST STOP

   TABLE   .npy: behind the header, records of 52 bytes, little-endian (this program wants such a machine)
   FILES   text, a path a line
   ARRAYS  text, a line for each array: height, width, bytes of a pixel, parts (2), tiles (2), tile (2), padded, packed
   FRAMES  the pixels, one frame of the table behind the other (all arrays are of one shape here)
   FIRST   number of the first record to be written; STOP: of the one after the last. They are written backwards. */

#ifndef _WIN32
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#define fseeko _fseeki64
#endif

#pragma pack(push, 1)
typedef struct {
    int64_t frame;
    int32_t array;
    int64_t file, offset;
    int32_t files, runs;
    int64_t run_bytes, run_stride;
} Record;
#pragma pack(pop)

typedef struct {
    int height, width, size, parts[2], tiles[2], tile[2], padded, packed;
} Array;

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static char *whole(const char *path, long *length) {
    FILE *file = fopen(path, "rb");
    check(file != NULL, path);
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    char *data = calloc(1, (size_t)*length + 1);
    check(data && fread(data, 1, (size_t)*length, file) == (size_t)*length, path);
    fclose(file);
    return data;
}

/* Bring the pixels of a tile, which begins at row `top` and column `left`, into the order of the file. */
static size_t cut(const Array *a, const unsigned char *frame, int top, int left, unsigned char *out) {
    int rows = a->height - top < a->tile[0] ? a->height - top : a->tile[0];
    int columns = a->width - left < a->tile[1] ? a->width - left : a->tile[1];
    if (rows <= 0 || columns <= 0) return 0;
    size_t row_bytes = (size_t)(a->padded ? a->tile[1] : columns) * a->size;
    if (a->packed) row_bytes = (size_t)(columns + 7) / 8;
    memset(out, 0, rows * row_bytes);
    for (int row = 0; row < rows; row++) {
        const unsigned char *from = frame + ((size_t)(top + row) * a->width + left) * a->size;
        unsigned char *to = out + row * row_bytes;
        if (!a->packed) memcpy(to, from, (size_t)columns * a->size);
        for (int x = 0; a->packed && x < columns; x++) to[x / 8] |= (from[x] != 0) << (7 - x % 8);
    }
    return rows * row_bytes;
}

static void place(const Record *r, const Array *a, char **files, const unsigned char *frame) {
    unsigned char *run = malloc((size_t)r->run_bytes);
    check(run != NULL, "memory");
    for (int part = 0; part < r->files; part++) {
        FILE *file = fopen(files[r->file + part], "r+b");
        check(file != NULL, files[r->file + part]);
        for (int tile = 0; tile < r->runs; tile++) {
            int down = part / a->parts[1] * a->tiles[0] + tile / a->tiles[1];
            int across = part % a->parts[1] * a->tiles[1] + tile % a->tiles[1];
            size_t length = cut(a, frame, down * a->tile[0], across * a->tile[1], run);
            check(length <= (size_t)r->run_bytes, "a run is too long");
            check(fseeko(file, r->offset + tile * r->run_stride, SEEK_SET) == 0, "seek");
            check(fwrite(run, 1, length, file) == length, "write");
        }
        check(fclose(file) == 0, "close");
    }
    free(run);
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    long bytes, length, count = 0;
    unsigned char *table = (unsigned char *)whole(argv[1], &bytes);
    long begin = 10 + table[8] + 256 * table[9];
    char *names = whole(argv[2], &length);
    char **files = calloc((size_t)length + 1, sizeof *files);
    for (char *name = strtok(names, "\n"); name; name = strtok(NULL, "\n")) files[count++] = name;
    Array arrays[64];
    FILE *list = fopen(argv[3], "r");
    check(list != NULL, argv[3]);
    for (int n = 0; n < 64; n++) {
        Array *a = arrays + n;
        if (fscanf(list, "%d %d %d %d %d %d %d %d %d %d %d", &a->height, &a->width, &a->size, a->parts, a->parts + 1,
                   a->tiles, a->tiles + 1, a->tile, a->tile + 1, &a->padded, &a->packed) != 11) break;
    }
    fclose(list);
    unsigned char *frames = (unsigned char *)whole(argv[4], &length);
    size_t each = (size_t)arrays->height * arrays->width * arrays->size;
    for (long n = atol(argv[6]) - 1; n >= atol(argv[5]); n--) {
        Record record;
        check(begin + (n + 1) * (long)sizeof record <= bytes, "the table is too short");
        memcpy(&record, table + begin + n * sizeof record, sizeof record);
        check((record.file + record.files) <= count, "the list of files is too short");
        place(&record, arrays + record.array, files, frames + n * each);
    }
    return 0;
}
