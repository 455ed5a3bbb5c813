/*
 * A load generator for WebSocket servers on the loopback.
 *
 * One thread, epoll, every frame built before the clock starts: it must cost less than any
 * server it drives.  It keeps a fixed number of messages in flight on each connection and
 * compares every byte of every echo with what was sent.
 *
 * It is driven over stdin, so that the caller can read the server's counters between phases:
 *
 *     run N     exchange N messages (or, when so asked, N connections); prints one JSON line
 *     quit      (or end of file) close every connection and leave
 *
 * "ready" is a JSON line as well, printed when every connection is open and, unless
 * --warm-up is 0, has exchanged that many messages.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<zlib.h>)
#include <zlib.h>
#define HAVE_ZLIB 1
#endif
#endif

/* ---------------------------------------------------------------- options */

enum mode { ECHO, RAW, FANOUT, CONNECT, HTTP };

static struct {
    enum mode mode;
    int port;
    const char *path;
    const char *host;
    int connections;      /* how many are open */
    int active;           /* how many of them talk; the others stay idle */
    size_t size;          /* bytes of a message */
    int opcode;           /* 1 text, 2 binary */
    int depth;            /* messages sent in one segment, and in flight */
    bool rounds;          /* send the next messages when all connections have their echo */
    int fragments;        /* frames a message is cut into */
    size_t drip;          /* bytes a write; 0: as much as the socket takes */
    bool deflate;         /* offer permessage-deflate and insist on it */
    bool no_context;      /* ... with both no_context_takeover parameters */
    bool wide;            /* a text with characters of two to four bytes */
    bool abrupt;          /* connect mode: leave without the closing handshake */
    bool raw_fanout;      /* fanout mode: no WebSocket at all */
    const char *messages; /* a file with one message a line */
    int warm_up;          /* messages on each connection before "ready" */
    int patience;         /* seconds without progress until it gives up */
} opt = {
    .mode = ECHO,
    .path = "/echo",
    .connections = 1,
    .size = 32,
    .opcode = 1,
    .depth = 1,
    .fragments = 1,
    .warm_up = 1,
    .patience = 60,
};

static void fail(const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32)
            *c = ' ';
    printf("{\"error\": \"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --------------------------------------------------------------- messages */

/* Messages repeat with this period, so that an echo of the wrong one is noticed. */
static int period;
static char **payloads;
static size_t *lengths;
static char *wire;       /* the frames of all messages of the period, one after the other */
static size_t *offsets;  /* where each message begins in wire; offsets[period] is the end */

struct buffer {
    char *data;
    size_t used, room;
};

static char *grow(struct buffer *b, size_t more)
{
    if (b->used + more > b->room) {
        b->room = (b->used + more) * 2;
        b->data = need(realloc(b->data, b->room));
    }
    return b->data + b->used;
}

static void append(struct buffer *b, const void *data, size_t n)
{
    memcpy(grow(b, n), data, n);
    b->used += n;
}

static void append_frame(struct buffer *b, int first, const char *data, size_t n)
{
    static const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char head[14];
    size_t h = 2;
    head[0] = (unsigned char)first;
    if (n < 126) {
        head[1] = 0x80 | (unsigned char)n;
    } else if (n < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(n >> 8);
        head[3] = (unsigned char)n;
        h = 4;
    } else {
        head[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++)
            head[2 + i] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
        h = 10;
    }
    memcpy(head + h, key, 4);
    append(b, head, h + 4);
    char *out = grow(b, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(data[i] ^ key[i & 3]);
    b->used += n;
}

static void append_message(struct buffer *b, const char *data, size_t n)
{
    size_t at = 0;
    for (int i = 0; i < opt.fragments; i++) {
        size_t end = n * (size_t)(i + 1) / (size_t)opt.fragments;
        int fin = i == opt.fragments - 1 ? 0x80 : 0;
        append_frame(b, fin | (i == 0 ? opt.opcode : 0), data + at, end - at);
        at = end;
    }
}

/* Text that looks like text: words of ASCII, and every so often a wider character. */
static void fill_text(char *out, size_t n)
{
    static const char *plain[] = {"the ", "quick ", "brown ", "fox ", "jumps ", "over "};
    static const char *wide[] = {"na\xc3\xafve ", "\xe2\x82\xac""12 ", "\xf0\x9f\xa6\x8a ",
                                 "\xd0\xbb\xd0\xb8\xd1\x81\xd0\xb0 ", "caf\xc3\xa9 ", "dog "};
    size_t at = 0;
    for (unsigned i = 0;; i++) {
        const char *word = opt.wide && i % 3 == 0 ? wide[(i / 3) % 6] : plain[i % 6];
        size_t w = strlen(word);
        if (at + w > n)
            break;
        memcpy(out + at, word, w);
        at += w;
    }
    memset(out + at, '.', n - at);
}

static void read_messages(void)
{
    FILE *file = fopen(opt.messages, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (file == NULL)
        fail("cannot read %s", opt.messages);
    while ((n = getline(&line, &room, file)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        payloads = need(realloc(payloads, sizeof *payloads * (size_t)(period + 1)));
        lengths = need(realloc(lengths, sizeof *lengths * (size_t)(period + 1)));
        payloads[period] = need(malloc((size_t)n + 1));
        memcpy(payloads[period], line, (size_t)n);
        lengths[period++] = (size_t)n;
    }
    free(line);
    fclose(file);
    if (period == 0)
        fail("%s holds no message", opt.messages);
    if (period % opt.depth)
        fail("%d messages do not divide by --depth %d", period, opt.depth);
}

static void make_messages(void)
{
    int distinct = opt.size > 65536 ? 2 : 16;
    period = opt.depth > 1 ? opt.depth : distinct;
    payloads = need(calloc((size_t)period, sizeof *payloads));
    lengths = need(calloc((size_t)period, sizeof *lengths));
    for (int i = 0; i < period; i++) {
        char *p = payloads[i] = need(malloc(opt.size + 1));
        lengths[i] = opt.size;
        if (opt.opcode == 1)
            fill_text(p, opt.size);
        else
            for (size_t k = 0; k < opt.size; k++)
                p[k] = (char)(k * 167 + (k >> 8) * 13 + 128);
        if (opt.size >= 4) { /* the number of the message, in ASCII at its head */
            char stamp[8];
            snprintf(stamp, sizeof stamp, "%04d", i % 10000);
            memcpy(p, stamp, 4);
            for (size_t k = 4; k < opt.size && (p[k] & 0xc0) == 0x80; k++)
                p[k] = '.';
        }
    }
}

static void build_wire(void)
{
    struct buffer b = {0};
    bool raw = opt.mode == RAW || opt.raw_fanout;
    offsets = need(calloc((size_t)period + 1, sizeof *offsets));
    for (int i = 0; i < period; i++) {
        offsets[i] = b.used;
        if (raw)
            append(&b, payloads[i], lengths[i]);
        else
            append_message(&b, payloads[i], lengths[i]);
    }
    offsets[period] = b.used;
    wire = b.data;
}

/* ------------------------------------------------------------ connections */

enum state { UNUSED, CONNECTING, HANDSHAKE, OPEN, CLOSING };

struct connection {
    int fd;
    enum state state;
    bool want_write;
    const char *out;    /* what remains to be written */
    size_t out_left;
    struct buffer own;  /* this connection's own frames, when compressed */
    uint64_t sent;      /* messages */
    uint64_t received;
    uint64_t target;    /* stop sending here */
    double sent_at;

    /* the frame that is being read */
    unsigned char head[16];
    size_t head_used, head_need;
    uint64_t left;       /* payload bytes of this frame still to come */
    bool fin, in_message, compressed, control;
    int control_opcode;
    unsigned char ping[125]; /* the payload of the control frame that is being read */
    size_t ping_used;
    bool owes_pong;
    size_t position;     /* bytes of this message that were seen */
    char *text;          /* the answer to the handshake; the compressed message */
    size_t text_used, text_room;
#ifdef HAVE_ZLIB
    z_stream *deflater, *inflater;
    bool client_reset, server_reset;
#endif
};

static struct connection *all;
static int poller;
static int opened, busy;          /* connections that are open; that owe us an echo */
static bool probing;              /* fan-out: the receivers are still being gathered */
static int talkers;               /* connections that talk in this phase */
static uint64_t finished;         /* messages echoed, or connections served, in this phase */
static uint64_t bytes_in, bytes_out;
static uint64_t started, wanted;  /* connect and http modes: connections, in this phase */
static int in_progress;           /* handshakes under way */
static uint64_t histogram[400];   /* round trips, by logarithm */

static void pump(struct connection *c);
static void send_pong(struct connection *c);
static void next_open(void);

static void count_latency(double seconds, uint64_t n)
{
    double us = seconds * 1e6;
    int slot = 0;
    while (us > 1.0 && slot < 399) { /* 2^(1/8) a slot would need log2(); steps of 6 % do */
        us /= 1.06;
        slot++;
    }
    histogram[slot] += n;
}

static double quantile(double q)
{
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < 400; i++)
        total += histogram[i];
    double us = 1.0;
    for (int i = 0; i < 400; i++, us *= 1.06) {
        seen += histogram[i];
        if (total && (double)seen >= q * (double)total)
            return us;
    }
    return 0;
}

static void watch(struct connection *c, bool write)
{
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = c};
    if (epoll_ctl(poller, c->state == UNUSED ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e))
        fail("epoll_ctl: %s", strerror(errno));
    c->want_write = write;
}

static void open_connection(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    c->state = UNUSED;
    watch(c, true);
    c->state = CONNECTING;
    c->text_used = c->head_used = 0;
    c->head_need = 2;
    c->left = 0;
    c->in_message = c->control = false;
    c->position = 0;
    in_progress++;
}

static void close_connection(struct connection *c)
{
    close(c->fd);
    c->state = UNUSED;
    c->fd = -1;
}

static void opening_request(struct connection *c)
{
    char text[1000];
    const char *offer = "";
    if (opt.deflate)
        offer = opt.no_context
                    ? "Sec-WebSocket-Extensions: permessage-deflate; "
                      "server_no_context_takeover; client_no_context_takeover\r\n"
                    : "Sec-WebSocket-Extensions: permessage-deflate; "
                      "client_max_window_bits\r\n";
    int n;
    if (opt.mode == HTTP)
        n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: loadgen\r\n"
                     "Accept: */*\r\nConnection: close\r\n\r\n", opt.path, opt.host);
    else
        n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nOrigin: http://%s\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\n%s\r\n", opt.path, opt.host, opt.host, offer);
    if (write(c->fd, text, (size_t)n) != n)
        fail("the request was not written at once");
}

static void write_out(struct connection *c)
{
    while (c->out_left) {
        size_t n = opt.drip && opt.drip < c->out_left ? opt.drip : c->out_left;
        ssize_t done = send(c->fd, c->out, n, MSG_NOSIGNAL);
        if (done < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                break;
            fail("send: %s", strerror(errno));
        }
        c->out += done;
        c->out_left -= (size_t)done;
        bytes_out += (uint64_t)done;
    }
    if ((c->out_left != 0) != c->want_write)
        watch(c, c->out_left != 0);
}

/* --------------------------------------------------------------- deflate */

#ifdef HAVE_ZLIB
static void compress_message(struct connection *c, const char *data, size_t n)
{
    static struct buffer packed;
    z_stream *z = c->deflater;
    if (c->client_reset)
        deflateReset(z);
    packed.used = 0;
    grow(&packed, n + n / 100 + 64);
    z->next_in = (unsigned char *)data;
    z->avail_in = (unsigned)n;
    z->next_out = (unsigned char *)packed.data;
    z->avail_out = (unsigned)packed.room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in || !z->avail_out)
        fail("deflate failed");
    append_frame(&c->own, 0x80 | 0x40 | opt.opcode, packed.data,
                 packed.room - z->avail_out - 4);
}

static void check_compressed(struct connection *c, const char *expected, size_t n)
{
    static char *plain;
    static size_t room;
    static const unsigned char tail[4] = {0, 0, 0xff, 0xff};
    z_stream *z = c->inflater;
    if (room < n + 64)
        plain = need(realloc(plain, room = n + 64));
    if (c->server_reset)
        inflateReset(z);
    z->next_out = (unsigned char *)plain;
    z->avail_out = (unsigned)room;
    for (int part = 0; part < 2; part++) {
        z->next_in = part ? (unsigned char *)tail : (unsigned char *)c->text;
        z->avail_in = part ? 4 : (unsigned)c->text_used;
        int result = inflate(z, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR)
            fail("inflate: %s", z->msg ? z->msg : "failed");
    }
    if (room - z->avail_out != n || memcmp(plain, expected, n))
        fail("a compressed echo differs from its message");
}

static void start_deflate(struct connection *c)
{
    char *line = strcasestr(c->text, "\r\nsec-websocket-extensions:");
    if (line == NULL || strcasestr(line, "permessage-deflate") == NULL)
        fail("the server did not accept permessage-deflate");
    int bits = 15;
    char *parameter = strcasestr(line, "client_max_window_bits=");
    if (parameter)
        bits = atoi(parameter + strlen("client_max_window_bits=") + (parameter[23] == '"'));
    c->client_reset = strcasestr(line, "client_no_context_takeover") != NULL;
    c->server_reset = strcasestr(line, "server_no_context_takeover") != NULL;
    if (c->deflater == NULL) {
        c->deflater = need(calloc(1, sizeof *c->deflater));
        c->inflater = need(calloc(1, sizeof *c->inflater));
        if (deflateInit2(c->deflater, 1, Z_DEFLATED, -bits, 5, Z_DEFAULT_STRATEGY) ||
            inflateInit2(c->inflater, -15))
            fail("zlib did not start");
    }
}
#endif

/* --------------------------------------------------------------- talking */

static void send_batch(struct connection *c)
{
    int at = (int)(c->sent % (uint64_t)period);
#ifdef HAVE_ZLIB
    if (opt.deflate) {
        c->own.used = 0;
        for (int i = 0; i < opt.depth; i++)
            compress_message(c, payloads[at + i], lengths[at + i]);
        c->out = c->own.data;
        c->out_left = c->own.used;
    } else
#endif
    {
        c->out = wire + offsets[at];
        c->out_left = offsets[at + opt.depth] - offsets[at];
    }
    c->sent += (uint64_t)opt.depth;
    c->sent_at = now();
    write_out(c);
}

/* Send the next batch when every echo of the last one is here. */
static void pump(struct connection *c)
{
    static int here; /* connections whose round is over */
    if (c->out_left || c->received != c->sent)
        return;
    if (c->owes_pong)
        send_pong(c);
    if (c->sent >= c->target)
        busy--;
    else if (!opt.rounds)
        send_batch(c);
    else if (++here == talkers) {
        here = 0;
        for (int i = 0; i < talkers; i++)
            send_batch(&all[i]);
    }
}

static void fanout_received(void)
{
    static uint64_t round;
    if (++round % (uint64_t)opt.connections)
        return;
    struct connection *sender = &all[0];
    if (round == sender->sent * (uint64_t)opt.connections) {
        if (sender->sent < sender->target)
            send_batch(sender);
        else
            busy = 0;
    }
}

static void message_done(struct connection *c)
{
    finished++;
    if (probing)
        return;
    c->received++;
    if (opt.mode == FANOUT) {
        fanout_received();
    } else if (c->received == c->sent) {
        count_latency(now() - c->sent_at, (uint64_t)opt.depth);
        pump(c);
    }
}

static void check_piece(struct connection *c, const char *data, size_t n)
{
    int index = (int)(c->received % (uint64_t)period);
    if (c->compressed) {
        if (c->text_used + n + 1 > c->text_room) {
            c->text_room = (c->text_used + n) * 2 + 64;
            c->text = need(realloc(c->text, c->text_room));
        }
        memcpy(c->text + c->text_used, data, n);
        c->text_used += n;
        return;
    }
    if (c->position + n > lengths[index] ||
        memcmp(payloads[index] + c->position, data, n))
        fail("an echo differs from its message, near byte %zu of %zu", c->position,
             lengths[index]);
    c->position += n;
}

/* A pong goes out between two batches, never inside a frame that is half written. */
static void send_pong(struct connection *c)
{
    struct buffer b = {0};
    if (c->out_left || !c->owes_pong)
        return;
    c->owes_pong = false;
    append_frame(&b, 0x8a, (char *)c->ping, c->ping_used);
    if (send(c->fd, b.data, b.used, MSG_NOSIGNAL) != (ssize_t)b.used)
        fail("a pong was not written at once");
    free(b.data);
}

static void end_of_frame(struct connection *c)
{
    c->head_used = 0;
    c->head_need = 2;
    if (c->control) {
        if (c->control_opcode == 8 && c->state == CLOSING)
            c->control = false;
        else if (c->control_opcode == 8)
            fail("the server closed the connection");
        if (c->control_opcode == 9) {
            c->owes_pong = true;
            send_pong(c);
        }
        return;
    }
    if (!c->fin)
        return;
    int index = (int)(c->received % (uint64_t)period);
    c->in_message = false;
#ifdef HAVE_ZLIB
    if (c->compressed)
        check_compressed(c, payloads[index], lengths[index]);
    else
#endif
        if (c->position != lengths[index])
        fail("an echo has %zu bytes of %zu", c->position, lengths[index]);
    c->position = c->text_used = 0;
    message_done(c);
}

static void read_head(struct connection *c)
{
    unsigned char *h = c->head;
    if (c->head_need == 2) {
        if (h[1] & 0x80)
            fail("the server masked a frame");
        c->head_need += (h[1] & 127) == 126 ? 2 : (h[1] & 127) == 127 ? 8 : 0;
        if (c->head_used < c->head_need)
            return;
    }
    uint64_t n = h[1] & 127;
    if (n >= 126) {
        n = 0;
        for (size_t i = 2; i < c->head_need; i++)
            n = n << 8 | h[i];
    }
    int opcode = h[0] & 15;
    c->control = opcode >= 8;
    c->control_opcode = opcode;
    c->left = n;
    if (c->control) {
        if (n > sizeof c->ping || !(h[0] & 0x80))
            fail("the server sent a control frame that is long or fragmented");
        c->ping_used = 0;
        return;
    }
    c->fin = h[0] & 0x80;
    if (!c->in_message) {
        if (opcode != opt.opcode)
            fail("the echo has opcode %d, the message had %d", opcode, opt.opcode);
        c->in_message = true;
        c->compressed = h[0] & 0x40;
    } else if (opcode != 0) {
        fail("opcode %d inside a fragmented message", opcode);
    }
}

static void read_frames(struct connection *c, const char *data, size_t n)
{
    while (n) {
        if (c->head_used < c->head_need) {
            size_t take = c->head_need - c->head_used;
            take = take < n ? take : n;
            memcpy(c->head + c->head_used, data, take);
            c->head_used += take;
            data += take;
            n -= take;
            if (c->head_used < c->head_need)
                return;
            read_head(c);
            if (c->head_used < c->head_need)
                continue;
            if (c->left == 0) {
                end_of_frame(c);
                continue;
            }
        }
        size_t take = c->left < n ? (size_t)c->left : n;
        if (c->control) {
            memcpy(c->ping + c->ping_used, data, take);
            c->ping_used += take;
        } else {
            check_piece(c, data, take);
        }
        c->left -= take;
        data += take;
        n -= take;
        if (c->left == 0)
            end_of_frame(c);
    }
}

static void read_raw(struct connection *c, const char *data, size_t n)
{
    while (n) {
        size_t length = lengths[c->received % (uint64_t)period];
        size_t take = length - c->position < n ? length - c->position : n;
        check_piece(c, data, take);
        data += take;
        n -= take;
        if (c->position == length) {
            c->position = 0;
            message_done(c);
        }
    }
}

static void send_close(struct connection *c)
{
    struct buffer b = {0};
    append_frame(&b, 0x88, "\x03\xe8", 2);
    ssize_t n = send(c->fd, b.data, b.used, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
    free(b.data);
}

static void connection_opened(struct connection *c)
{
    in_progress--;
    if (opt.mode == CONNECT) {
        if (opt.abrupt) {
            close_connection(c);
            finished++;
        } else {
            c->state = CLOSING;
            send_close(c);
        }
        next_open();
        return;
    }
    c->state = OPEN;
    opened++;
    next_open();
}

static void check_handshake(struct connection *c)
{
    if (strncmp(c->text, "HTTP/1.1 101", 12)) {
        c->text[strcspn(c->text, "\r\n")] = 0;
        fail("the handshake was answered with: %s", c->text);
    }
    if (strstr(c->text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == NULL)
        fail("Sec-WebSocket-Accept is wrong or missing");
#ifdef HAVE_ZLIB
    if (opt.deflate)
        start_deflate(c);
#endif
}

static void read_answer(struct connection *c, const char *data, size_t n)
{
    if (c->text_used + n + 1 > c->text_room) {
        c->text_room = c->text_used + n + 1024;
        c->text = need(realloc(c->text, c->text_room));
    }
    memcpy(c->text + c->text_used, data, n);
    c->text_used += n;
    c->text[c->text_used] = 0;
    if (opt.mode == HTTP)
        return; /* read to the end of the stream */
    char *end = strstr(c->text, "\r\n\r\n");
    if (end == NULL)
        return;
    check_handshake(c);
    size_t surplus = c->text_used - (size_t)(end + 4 - c->text);
    char *rest = NULL;
    if (surplus)
        memcpy(rest = need(malloc(surplus)), end + 4, surplus);
    free(c->text);
    c->text = NULL;
    c->text_used = c->text_room = 0;
    connection_opened(c);
    if (surplus && c->state != UNUSED)
        read_frames(c, rest, surplus);
    free(rest);
}

static void end_of_stream(struct connection *c)
{
    if (opt.mode == HTTP && c->state == HANDSHAKE) {
        if (c->text_used < 12 || strncmp(c->text + 8, " 200", 4))
            fail("the request was answered with: %.60s", c->text_used ? c->text : "nothing");
        c->text_used = 0;
        in_progress--;
    } else if (c->state != CLOSING) {
        fail("the server ended the stream (state %d)", c->state);
    }
    close_connection(c);
    finished++;
    count_latency(now() - c->sent_at, 1);
    next_open();
}

static void readable(struct connection *c)
{
    static char data[1 << 18];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (c->state != CLOSING)
            fail("recv: %s", strerror(errno));
        n = 0;
    }
    if (n == 0) {
        end_of_stream(c);
        return;
    }
    bytes_in += (uint64_t)n;
    if (c->state == HANDSHAKE)
        read_answer(c, data, (size_t)n);
    else if (opt.mode == RAW || opt.raw_fanout)
        read_raw(c, data, (size_t)n);
    else
        read_frames(c, data, (size_t)n);
}

static void writable(struct connection *c)
{
    if (c->state != CONNECTING) {
        write_out(c);
        return;
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        fail("connect: %s", strerror(error));
    c->sent_at = now();
    c->state = HANDSHAKE;
    watch(c, false);
    if (opt.mode == RAW || opt.raw_fanout)
        connection_opened(c);
    else
        opening_request(c);
}

/* Keep a bounded number of handshakes under way. */
static void next_open(void)
{
    bool cycling = opt.mode == CONNECT || opt.mode == HTTP;
    int limit = cycling ? opt.connections : 64;
    static int next;
    while (started < wanted && in_progress < limit) {
        struct connection *c = NULL;
        if (cycling) {
            for (int i = 0; i < 2 * opt.connections && c == NULL; i++) {
                next = (next + 1) % (2 * opt.connections);
                c = all[next].state == UNUSED ? &all[next] : NULL;
            }
            if (c == NULL)
                return; /* every slot still waits for the end of its stream */
        } else {
            c = &all[started];
        }
        started++;
        open_connection(c);
    }
}

/* ------------------------------------------------------------------ loop */

/* Serve what is ready; false when nothing was for so many milliseconds. */
static bool serve(int milliseconds)
{
    struct epoll_event events[256];
    int n = epoll_wait(poller, events, 256, milliseconds);
    if (n < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            if (c->state != CONNECTING)
                readable(c);
        if (c->fd >= 0 && (c->state == CONNECTING || events[i].events & EPOLLOUT))
            writable(c);
    }
    return n != 0;
}

static void step(void)
{
    if (!serve(opt.patience * 1000))
        fail("nothing came for %d seconds (%llu done)", opt.patience,
             (unsigned long long)finished);
}

/*
 * A connection that is open here may still wait to be accepted there, or to be listed as
 * a receiver.  So the first message is sent again until it has reached every connection.
 */
static void gather_receivers(void)
{
    probing = true;
    for (int tries = 0; finished < (uint64_t)opt.connections; tries++) {
        if (tries == opt.patience)
            fail("a message reaches %llu receivers only", (unsigned long long)finished);
        finished = 0;
        all[0].sent = 0;
        send_batch(&all[0]);
        while (finished < (uint64_t)opt.connections && serve(1000))
            ;
    }
    probing = false;
    all[0].sent = 0;
}

static void exchange(uint64_t messages)
{
    talkers = opt.mode == FANOUT ? 1 : opt.active;
    uint64_t batch = (uint64_t)opt.depth;
    uint64_t each = (messages + (uint64_t)talkers - 1) / (uint64_t)talkers;
    each = (each + batch - 1) / batch * batch;
    busy = talkers;
    for (int i = 0; i < talkers; i++) {
        all[i].target = all[i].sent + each;
        if (each)
            send_batch(&all[i]);
        else
            busy--;
    }
    while (busy > 0)
        step();
}

static void cycle(uint64_t connections)
{
    started = 0;
    wanted = connections;
    finished = 0;
    next_open();
    while (finished < connections)
        step();
    wanted = 0;
}

/* The next command; connections are served while it is awaited. */
static bool command(char *line, size_t room)
{
    struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = poller, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            fail("poll: %s", strerror(errno));
        if (fds[1].revents)
            step();
        if (fds[0].revents) {
            ssize_t n = read(0, line, room - 1);
            line[n > 0 ? n : 0] = 0;
            return n > 0 && strncmp(line, "quit", 4);
        }
    }
}

static void run(uint64_t amount)
{
    memset(histogram, 0, sizeof histogram);
    finished = bytes_in = bytes_out = 0;
    struct rusage r0, r1;
    getrusage(RUSAGE_SELF, &r0);
    double t0 = now();
    if (opt.mode == CONNECT || opt.mode == HTTP)
        cycle(amount);
    else
        exchange(amount);
    double seconds = now() - t0;
    getrusage(RUSAGE_SELF, &r1);
    double cpu = (double)(r1.ru_utime.tv_sec + r1.ru_stime.tv_sec - r0.ru_utime.tv_sec -
                          r0.ru_stime.tv_sec) +
                 1e-6 * (double)(r1.ru_utime.tv_usec + r1.ru_stime.tv_usec -
                                 r0.ru_utime.tv_usec - r0.ru_stime.tv_usec);
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"bytes_in\": %llu, "
           "\"bytes_out\": %llu, \"client_cpu\": %.4f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           (unsigned long long)finished, seconds, (unsigned long long)bytes_in,
           (unsigned long long)bytes_out, cpu, quantile(0.5), quantile(0.99));
    fflush(stdout);
}

static void open_all(void)
{
    wanted = (uint64_t)opt.connections;
    next_open();
    while (opened < opt.connections)
        step();
    wanted = 0;
    if (opt.mode == FANOUT)
        gather_receivers();
    int active = opt.active;
    opt.active = opt.connections;
    if (opt.warm_up)
        exchange((uint64_t)(opt.mode == FANOUT ? opt.warm_up
                                               : opt.warm_up * opt.connections));
    opt.active = active;
}

/* ------------------------------------------------------------------ main */

static enum mode mode_of(const char *name)
{
    static const char *names[] = {"echo", "raw", "fanout", "connect", "http"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(names[i], name))
            return (enum mode)i;
    fail("no mode %s", name);
    return ECHO;
}

static void read_options(int argc, char **argv)
{
    enum { MODE = 256, PORT, PATH, CONNECTIONS, ACTIVE, SIZE, BINARY, DEPTH, ROUNDS, FRAGMENTS, DRIP,
           DEFLATE, NO_CONTEXT, WIDE, ABRUPT, RAW_FANOUT, MESSAGES, WARM_UP, PATIENCE };
    static const struct option known[] = {
        {"mode", 1, 0, MODE}, {"port", 1, 0, PORT}, {"path", 1, 0, PATH},
        {"connections", 1, 0, CONNECTIONS}, {"active", 1, 0, ACTIVE}, {"size", 1, 0, SIZE},
        {"binary", 0, 0, BINARY}, {"depth", 1, 0, DEPTH}, {"rounds", 0, 0, ROUNDS}, {"fragments", 1, 0, FRAGMENTS},
        {"drip", 1, 0, DRIP}, {"deflate", 0, 0, DEFLATE}, {"no-context", 0, 0, NO_CONTEXT},
        {"wide", 0, 0, WIDE}, {"abrupt", 0, 0, ABRUPT}, {"raw-fanout", 0, 0, RAW_FANOUT},
        {"messages", 1, 0, MESSAGES}, {"warm-up", 1, 0, WARM_UP},
        {"patience", 1, 0, PATIENCE}, {0, 0, 0, 0}};
    int o;
    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (o) {
        case MODE: opt.mode = mode_of(optarg); break;
        case PORT: opt.port = atoi(optarg); break;
        case PATH: opt.path = optarg; break;
        case CONNECTIONS: opt.connections = atoi(optarg); break;
        case ACTIVE: opt.active = atoi(optarg); break;
        case SIZE: opt.size = (size_t)atoll(optarg); break;
        case BINARY: opt.opcode = 2; break;
        case DEPTH: opt.depth = atoi(optarg); break;
        case ROUNDS: opt.rounds = true; break;
        case FRAGMENTS: opt.fragments = atoi(optarg); break;
        case DRIP: opt.drip = (size_t)atoll(optarg); break;
        case DEFLATE: opt.deflate = true; break;
        case NO_CONTEXT: opt.deflate = opt.no_context = true; break;
        case WIDE: opt.wide = true; break;
        case ABRUPT: opt.abrupt = true; break;
        case RAW_FANOUT: opt.mode = FANOUT; opt.raw_fanout = true; break;
        case MESSAGES: opt.messages = optarg; break;
        case WARM_UP: opt.warm_up = atoi(optarg); break;
        case PATIENCE: opt.patience = atoi(optarg); break;
        default: fail("unknown option");
        }
    if (opt.port <= 0 || opt.connections < 1 || opt.depth < 1 || opt.fragments < 1)
        fail("--port, --connections, --depth and --fragments must be positive");
    if (opt.active < 1 || opt.active > opt.connections)
        opt.active = opt.connections;
#ifndef HAVE_ZLIB
    if (opt.deflate)
        fail("built without zlib");
#endif
}

int main(int argc, char **argv)
{
    struct rlimit files;
    char host[40], line[100];
    read_options(argc, argv);
    snprintf(host, sizeof host, "127.0.0.1:%d", opt.port);
    opt.host = host;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = need(calloc((size_t)opt.connections * 2, sizeof *all));
    for (int i = 0; i < 2 * opt.connections; i++)
        all[i].fd = -1;
    if (opt.messages)
        read_messages();
    else
        make_messages();
    build_wire();
    if (opt.mode != CONNECT && opt.mode != HTTP)
        open_all();
    printf("{\"ready\": %d}\n", opened);
    fflush(stdout);
    while (command(line, sizeof line)) {
        unsigned long long amount;
        if (sscanf(line, "run %llu", &amount) != 1)
            fail("no such command: %s", line);
        run(amount);
    }
    for (int i = 0; i < opt.connections; i++)
        if (all[i].state == OPEN) {
            if (opt.mode != RAW && !opt.raw_fanout)
                send_close(&all[i]);
            close(all[i].fd);
        }
    return 0;
}
