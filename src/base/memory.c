/* memory: allocate or abort. */
#include "base/memory.h"

#include <stdlib.h>

void *mem_new(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    check(memory != NULL);
    return memory;
}

void *mem_new_array(size_t count, size_t size) {
    check(size == 0 || count <= SIZE_MAX / size);
    return mem_new(count * size);
}

void *mem_resize(void *old, size_t size) {
    void *memory = realloc(old, size ? size : 1);
    check(memory != NULL);
    return memory;
}

void *mem_raw(size_t size) {
    void *memory = malloc(size ? size : 1);
    check(memory != NULL);
    return memory;
}

char *mem_text(struct bytes bytes) {
    char *text = mem_raw((size_t)bytes.size + 1);
    bytes_copy(text, bytes.data, bytes.size);
    text[bytes.size] = 0;
    return text;
}

void mem_free(void *memory) {
    free(memory);
}
