/* log: lines of one event each, put together without I/O. */
#include "base/log.h"

#include "base/str.h"

static const char *const level_names[] = {
    [LEVEL_DEBUG] = "debug",
    [LEVEL_INFO] = "info",
    [LEVEL_WARNING] = "warning",
    [LEVEL_ERROR] = "error",
};

const char *log_level_name(enum log_level level) {
    check(level < LEVEL_COUNT);
    return level_names[level];
}

bool log_level_find(struct bytes name, enum log_level *ret_level) {
    if (bytes_equal(name, BYTES("critical"))) {
        *ret_level = LEVEL_ERROR;
        return true;
    }
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (!bytes_equal(name, bytes_text(level_names[i]))) continue;
        *ret_level = (enum log_level)i;
        return true;
    }
    return false;
}

bool log_wants(const struct log *log, enum log_level level) {
    return log && (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* ---- the line ---- */

void log_begin(struct log_line *line, const char *event) {
    line->size = str_format(line->text, sizeof line->text, "%s", event);
}

/* A value of these alone needs no quotes. */
static bool is_plain(uint8_t c) {
    if (c >= 'a' && c <= 'z') return true;
    if (c >= 'A' && c <= 'Z') return true;
    if (c >= '0' && c <= '9') return true;
    return c != 0 && strchr("._:/@+-[]*,#%", c) != NULL;
}

static bool all_plain(struct bytes value) {
    for (uint32_t i = 0; i < value.size; i++) {
        if (!is_plain(value.data[i])) return false;
    }
    return value.size != 0;
}

/* Writes one octet of a quoted value as 1 to 4 characters; gives their number. `text` says that the
 * value is UTF-8, whose octets stay as they are but for the control characters 0x80 to 0x9f, the
 * only ones whose lead is 0xc2 and whose second octet is below 0xa0. */
static size_t escape(char out[4], const struct bytes value, uint32_t at, bool text) {
    static const char digits[] = "0123456789abcdef";
    uint8_t c = value.data[at];
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    bool high_control = false;
    if (c == 0xc2) high_control = at + 1 < value.size && value.data[at + 1] < 0xa0;
    if (c >= 0x80 && c < 0xa0) high_control = at > 0 && value.data[at - 1] == 0xc2;
    bool shown = c >= 0x80 ? text && !high_control : c >= ' ' && c != 0x7f;
    if (shown) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[c >> 4];
    out[3] = digits[c & 15];
    return 4;
}

/* The largest prefix of at most `size` octets that ends between characters. */
static struct bytes cut_text(struct bytes value, uint32_t size) {
    if (value.size <= size) return value;
    struct bytes cut = bytes_of(value.data, size);
    while (cut.size > 0 && (value.data[cut.size] & 0xc0) == 0x80 && size - cut.size < 4)
        cut.size--;
    return cut;
}

void log_put(struct log_line *line, const char *key, struct bytes value) {
    struct bytes shown = cut_text(value, LOG_VALUE_BYTES_MAX);
    bool text = str_is_utf8(shown);
    bool quoted = shown.size != value.size || !all_plain(shown);
    char put[LOG_VALUE_BYTES_MAX * 4 + 64];
    size_t size = str_format(put, 48, " %s=%s", key, quoted ? "\"" : "");
    for (uint32_t i = 0; i < shown.size; i++) {
        if (quoted)
            size += escape(put + size, shown, i, text);
        else
            put[size++] = (char)shown.data[i];
    }
    size += str_format(
        put + size, 8, "%s%s", shown.size != value.size ? "..." : "", quoted ? "\"" : "");
    if (size > sizeof line->text - line->size) return;
    memcpy(line->text + line->size, put, size);
    line->size += size;
}

void log_put_text(struct log_line *line, const char *key, const char *value) {
    log_put(line, key, bytes_text(value));
}

void log_put_number(struct log_line *line, const char *key, uint64_t value) {
    char text[24];
    size_t size = str_format(text, sizeof text, "%llu", (unsigned long long)value);
    log_put(line, key, bytes_of(text, size));
}

void log_end(struct log_line *line, const struct log *log, enum log_level level) {
    if (log_wants(log, level)) log->write(log->context, level, bytes_of(line->text, line->size));
}

/* ---- moderation ---- */

bool log_budget_take(struct log_budget *budget, uint64_t now_ms, uint32_t *ret_withheld) {
    uint64_t second = now_ms / 1000;
    if (second != budget->second) {
        budget->second = second;
        budget->spent = 0;
    }
    if (budget->spent == LOG_LINES_PER_SECOND) {
        budget->withheld++;
        return false;
    }
    budget->spent++;
    *ret_withheld = budget->withheld;
    budget->withheld = 0;
    return true;
}
