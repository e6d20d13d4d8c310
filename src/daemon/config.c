/* config: the settings of the broker. The table config.def is expanded four times: into the struct
 * (config.h), the list of keys below, the sample file and the manual page. */
#include "daemon/config.h"

#include <ini.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/guess.h"

enum type { NUMBER, SIZE, RATIO, TEXT, LEVEL, LISTENER, NONE, DURABILITY };

struct setting {
    enum type type;
    size_t at; /* of the field in struct config */
    const char *key;
    const char *fallback;
    uint64_t low;
    uint64_t high;
    const char *text;
};

static const struct setting settings[] = {
#define SETTING(type, field, key, fallback, low, high, text)                                       \
    {type, offsetof(struct config, field), key, fallback, low, high, text},
#include "daemon/config.def"
#undef SETTING
};

/* ---- values ---- */

static void refuse(struct config_why *why, const char *format, ...) PRINTF_LIKE(2, 3);

static void refuse(struct config_why *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    str_format_list(why->text, sizeof why->text, format, arguments);
    va_end(arguments);
}

/* Bytes of a unit as RabbitMQ reads them: k, kiB and the like are powers of 1024, kB of 1000. */
static bool unit_bytes(struct bytes unit, uint64_t *ret_factor) {
    static const char letters[] = "kmgt";
    if (unit.size == 0) {
        *ret_factor = 1;
        return true;
    }
    const char *letter = strchr(letters, unit.data[0] | 0x20);
    if (!letter || *letter == 0) return false;
    struct bytes rest = bytes_of(unit.data + 1, unit.size - 1);
    uint64_t base = bytes_equal(rest, BYTES("B")) ? 1000 : 1024;
    if (base == 1024 && rest.size != 0 && !bytes_equal(rest, BYTES("iB"))) return false;
    *ret_factor = base;
    for (long i = letter - letters; i > 0; i--)
        *ret_factor *= base;
    return true;
}

static bool read_size(struct bytes text, uint64_t *ret_value) {
    uint32_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    uint64_t factor = 0;
    uint64_t value = 0;
    uint32_t unit = digits;
    while (unit < text.size && text.data[unit] == ' ')
        unit++;
    if (!str_to_u64(bytes_of(text.data, digits), &value)) return false;
    if (!unit_bytes(bytes_of(text.data + unit, text.size - unit), &factor)) return false;
    return !__builtin_mul_overflow(value, factor, ret_value);
}

/* "0.6", "1", ".45" as hundredths; what follows the second decimal is cut. */
static bool read_ratio(struct bytes text, uint64_t *ret_value) {
    const uint8_t *dot = text.size ? memchr(text.data, '.', text.size) : NULL;
    struct bytes whole = bytes_of(text.data, dot ? (size_t)(dot - text.data) : text.size);
    uint64_t value = 0;
    if (whole.size != 0 && !str_to_u64(whole, &value)) return false;
    if (value > 1000 || (!dot && whole.size == 0)) return false;
    value *= 100;
    uint64_t weight = 10;
    size_t decimals = 0;
    for (const uint8_t *at = dot ? dot + 1 : NULL; at && at < text.data + text.size; at++) {
        if (*at < '0' || *at > '9') return false;
        value += weight * (uint64_t)(*at - '0');
        weight /= 10;
        decimals++;
    }
    if (dot && decimals == 0) return false;
    *ret_value = value;
    return true;
}

/* Completes a port alone to all addresses; checks the port of a full address. */
static bool add_listener(struct config *config, const char *value, struct config_why *why) {
    struct config_listeners *listen = &config->listen;
    const char *colon = strrchr(value, ':');
    uint64_t port = 0;
    if (!str_to_u64(bytes_text(colon ? colon + 1 : value), &port) || port > 65535) {
        refuse(why, "'%s' is neither a port nor ADDRESS:PORT", value);
        return false;
    }
    if (listen->count == LISTENERS_MAX) {
        refuse(why, "more than %d listeners", LISTENERS_MAX);
        return false;
    }
    struct config_text *address = &listen->address[listen->count++];
    str_format(address->text, sizeof address->text, "%s%s", colon ? "" : "[::]:", value);
    config->listen_none = false;
    return true;
}

static bool set_number(
    uint64_t *field, const struct setting *setting, const char *value, struct config_why *why) {
    uint64_t number = 0;
    struct bytes text = bytes_text(value);
    bool read = setting->type == NUMBER ? str_to_u64(text, &number)
                : setting->type == SIZE ? read_size(text, &number)
                                        : read_ratio(text, &number);
    if (!read) {
        refuse(why, "'%s' of '%s' is no %s", value, setting->key,
            setting->type == SIZE ? "size, such as 512MiB" : "number");
        return false;
    }
    if (number < setting->low || number > setting->high) {
        unsigned scale = setting->type == RATIO ? 100 : 1;
        refuse(why, "'%s' of '%s' is not within %.10g and %.10g", value, setting->key,
            (double)setting->low / scale, (double)setting->high / scale);
        return false;
    }
    *field = number;
    return true;
}

static bool set_level(uint64_t *field, const char *value, struct config_why *why) {
    enum log_level level = LEVEL_INFO;
    if (!log_level_find(bytes_text(value), &level)) {
        refuse(why, "'%s' is no log level: it is one of debug, info, warning, error", value);
        return false;
    }
    *field = level;
    return true;
}

static bool set_durability(uint64_t *field, const char *value, struct config_why *why) {
    static const char *const words[] = {
        [DURABILITY_FSYNC] = "fsync",
        [DURABILITY_OS] = "os",
    };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(value, words[i]) != 0) continue;
        *field = i;
        return true;
    }
    refuse(why, "'%s' is no durability: it is fsync or os", value);
    return false;
}

static bool set_text(struct config_text *field, const struct setting *setting, const char *value,
    struct config_why *why) {
    size_t size = strlen(value);
    if (size == 0 || size >= sizeof field->text) {
        refuse(why, "'%s' has to be 1 to %zu octets long", setting->key, sizeof field->text - 1);
        return false;
    }
    memcpy(field->text, value, size + 1);
    return true;
}

static bool set_none(
    bool *field, const struct setting *setting, const char *value, struct config_why *why) {
    if (strcmp(value, "none") != 0) {
        refuse(why, "'%s' takes no other value than none", setting->key);
        return false;
    }
    *field = true;
    return true;
}

static bool set_value(struct config *config, const struct setting *setting, const char *value,
    struct config_why *why) {
    void *field = (char *)config + setting->at;
    switch (setting->type) {
    case NUMBER:
    case SIZE:
    case RATIO: return set_number(field, setting, value, why);
    case LEVEL: return set_level(field, value, why);
    case DURABILITY: return set_durability(field, value, why);
    case TEXT: return set_text(field, setting, value, why);
    case NONE: return set_none(field, setting, value, why);
    case LISTENER: return add_listener(config, value, why);
    }
    unreachable_here();
}

/* ---- keys ---- */

static bool key_matches(const char *pattern, const char *key) {
    size_t size = strlen(pattern);
    if (pattern[size - 1] != '*') return strcmp(pattern, key) == 0;
    return strncmp(pattern, key, size - 1) == 0 && key[size - 1] != 0;
}

static void refuse_key(const char *key, struct config_why *why) {
    if (strncmp(key, "listeners.ssl", 13) == 0 || strncmp(key, "ssl_options", 11) == 0) {
        refuse(why, "'%s': TLS is not in this version", key);
        return;
    }
    struct guess guess;
    guess_init(&guess, key);
    for (size_t i = 0; i < COUNT_OF(settings); i++)
        guess_offer(&guess, settings[i].key);
    const char *meant = guess_closest(&guess);
    if (meant)
        refuse(why, "unknown key '%s'; did you mean '%s'?", key, meant);
    else
        refuse(why, "unknown key '%s'", key);
}

bool config_set(
    struct config *config, const char *key, const char *value, struct config_why *ret_why) {
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        if (key_matches(settings[i].key, key))
            return set_value(config, &settings[i], value, ret_why);
    }
    refuse_key(key, ret_why);
    return false;
}

static bool is_unset(const struct setting *setting) {
    bool may_be = setting->type == SIZE || setting->type == RATIO;
    return may_be && setting->fallback[0] == 0;
}

void config_init(struct config *config) {
    *config = (struct config){0};
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        const struct setting *setting = &settings[i];
        if (setting->type == LISTENER || setting->type == NONE) continue;
        if (is_unset(setting)) {
            *(uint64_t *)(void *)((char *)config + setting->at) = CONFIG_UNSET;
            continue;
        }
        struct config_why why;
        check(set_value(config, setting, setting->fallback, &why));
    }
}

void config_join(struct config_text *ret_address, const char *ip, uint64_t port) {
    bool bare = strchr(ip, ':') != NULL && ip[0] != '[';
    size_t used = str_format(ret_address->text, sizeof ret_address->text, "%s%.200s%s",
        bare ? "[" : "", ip, bare ? "]" : "");
    str_format(ret_address->text + used, sizeof ret_address->text - used, ":%llu",
        (unsigned long long)port);
}

/* ---- the file ---- */

/* What the reader of lines and the taker of values share. */
struct reading {
    struct config *config;
    FILE *file;
    const char *path;
    struct config_why *why;
    int line;
    bool failed;
};

static void refuse_line(struct reading *reading, const char *reason) {
    if (reading->failed) return;
    reading->failed = true;
    refuse(reading->why, "%s:%d: %.300s", reading->path, reading->line, reason);
}

/* Takes leading blanks off, which would make a line the rest of the one before it, and a comment
 * behind the value. */
static void trim_line(char *line) {
    size_t blanks = strspn(line, " \t");
    memmove(line, line + blanks, strlen(line + blanks) + 1);
    for (char *at = strchr(line, '#'); at; at = strchr(at + 1, '#')) {
        if (at != line && at[-1] != ' ' && at[-1] != '\t') continue;
        *at = 0;
        return;
    }
}

/* As fgets, for the library; counts lines. */
static char *next_line(char *line, int size, void *context) {
    struct reading *reading = context;
    if (reading->failed || !fgets(line, size, reading->file)) return NULL;
    reading->line++;
    size_t length = strlen(line);
    if (length + 1 == (size_t)size && line[length - 1] != '\n')
        refuse_line(reading, "the line is too long");
    trim_line(line);
    return line;
}

static int take(void *context, const char *section, const char *key, const char *value) {
    struct reading *reading = context;
    struct config_why why;
    if (section[0] != 0) {
        refuse_line(reading, "there are no sections here, only lines of 'key = value'");
    } else if (!config_set(reading->config, key, value, &why)) {
        refuse_line(reading, why.text);
    }
    return !reading->failed;
}

bool config_read(struct config *config, FILE *file, const char *path, struct config_why *ret_why) {
    struct reading reading = {.config = config, .file = file, .path = path, .why = ret_why};
    int wrong = ini_parse_stream(next_line, &reading, take, &reading);
    if (wrong != 0 && !reading.failed) {
        reading.line = wrong;
        refuse_line(&reading, "this is not 'key = value'");
    }
    return !reading.failed;
}

/* ---- prints ---- */

static const char *shown_value(const struct setting *setting) {
    if (setting->type == NONE) return "none";
    if (setting->type == LISTENER) return "127.0.0.1:5672";
    if (is_unset(setting)) return setting->type == SIZE ? "2GiB" : "1.5";
    return setting->fallback;
}

static void print_wrapped(FILE *file, const char *text) {
    enum { COLUMNS = 98 };
    int column = COLUMNS;
    for (bool first = true; *text; first = false) {
        int size = (int)strcspn(text, " ");
        bool breaks = column + 1 + size > COLUMNS;
        if (breaks)
            fputs(first ? "# " : "\n# ", file);
        else
            fputc(' ', file);
        column = breaks ? 2 + size : column + 1 + size;
        fprintf(file, "%.*s", size, text);
        text += size;
        text += *text == ' ';
    }
    fputc('\n', file);
}

void config_print_sample(FILE *file) {
    fprintf(file,
        "# Settings of godwit %s: every key with its default. Lines that begin with # are\n"
        "# comments; take the # away from what you change.\n",
        GODWIT_VERSION);
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        const struct setting *setting = &settings[i];
        fputc('\n', file);
        print_wrapped(file, setting->text);
        size_t size = strlen(setting->key);
        bool any = setting->key[size - 1] == '*';
        fprintf(file, "# %.*s%s = %s\n", (int)(any ? size - 1 : size), setting->key,
            any ? "second" : "", shown_value(setting));
    }
}

static const char *value_word(enum type type) {
    switch (type) {
    case NUMBER: return "NUMBER";
    case SIZE: return "SIZE";
    case RATIO: return "RATIO";
    case TEXT: return "TEXT";
    case LEVEL: return "LEVEL";
    case DURABILITY: return "WORD";
    case LISTENER: return "ADDRESS";
    case NONE: return "none";
    }
    unreachable_here();
}

static void print_manual_setting(FILE *file, const struct setting *setting) {
    fprintf(file, ".TP\n.BI %s \" = \" %s\n", setting->key, value_word(setting->type));
    for (const char *at = setting->text; *at; at++) {
        if (*at == '-') fputc('\\', file);
        fputc(*at, file);
        bool sentence = *at == '.' && at[1] == ' ';
        if (!sentence) continue;
        fputc('\n', file);
        at++;
    }
    if (setting->type == NUMBER || setting->type == RATIO) {
        unsigned scale = setting->type == RATIO ? 100 : 1;
        fprintf(file, "\nFrom %g to %.10g.", (double)setting->low / scale,
            (double)setting->high / scale);
    }
    bool has_default = setting->fallback[0] != 0 && strcmp(setting->fallback, GODWIT_VERSION) != 0;
    if (has_default) fprintf(file, "\nDefault:\n.IR %s .", setting->fallback);
    fputc('\n', file);
}

void config_print_manual(FILE *file) {
    fputs(".\\\" Printed from src/daemon/config.def by godwit --print-config=man\n", file);
    fprintf(file,
        ".TH GODWIT.CONF 5 \"November 2026\" \"Godwit %s\" \"File Formats\"\n"
        ".SH NAME\ngodwit.conf \\- settings of godwit\n.SH DESCRIPTION\n",
        GODWIT_VERSION);
    fputs(
        "The file that\n.BR godwit (8)\nreads with\n.B \\-\\-config\n"
        "has one\n.I \"key = value\"\nper line, as rabbitmq.conf has; the keys are RabbitMQ's "
        "where "
        "the meaning is the same.\nLines that begin with # are comments.\n"
        "An unknown key or a wrong value is an error that names the line, and the broker does not "
        "start.\nA flag wins over the file.\n"
        "A size is a number of bytes, or has a unit: k, M, G, T and kiB, MiB, GiB, TiB count by "
        "1024; kB, MB, GB, TB by 1000.\n",
        file);
    fputs(".PP\n.B godwit \\-\\-print\\-config\nprints a file with every key and its default.\n"
          ".SH SETTINGS\n",
        file);
    for (size_t i = 0; i < COUNT_OF(settings); i++)
        print_manual_setting(file, &settings[i]);
    fputs(".SH SEE ALSO\n.BR godwit (8),\n.BR godwitctl (1)\n", file);
}
