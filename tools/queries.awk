# queries.awk: sql/queries/*.sql -> queries.h (MODE=h) or queries.c (MODE=c).
#
#   -- name: project_get (read)
#   -- What it promises.
#   select ...
#
# A statement runs to the next "-- name:" line. Comment lines are dropped,
# the rest is kept as it stands, less a closing semicolon.

function flush_statement() {
    if (name == "") return
    sub(/[ \t\n]*;?[ \t\n]*$/, "", text)
    if (text == "") bad(name " has no statement")
    names[++count] = name
    texts[count] = text
    lanes[count] = lane
    name = ""
}

function bad(why) {
    print FILENAME ":" FNR ": " why > "/dev/stderr"
    failed = 1
    exit 1
}

function quote(s) {
    gsub(/\\/, "\\\\", s)
    gsub(/"/, "\\\"", s)
    gsub(/\n/, "\\n\"\n      \"", s)
    return "\"" s "\""
}

/^-- name: / {
    flush_statement()
    if ($3 !~ /^[a-z][a-z0-9_]*$/) bad("not a statement name: " $3)
    if ($3 in seen) bad("second statement named " $3)
    if (NF > 3 && $4 != "(read)" && $4 != "(insert)")
        bad("only (read) or (insert) may follow a name")
    name = $3
    seen[name] = 1
    lane = $4 == "(read)" ? "LANE_READ" : $4 == "(insert)" ? "LANE_INSERT" \
        : "LANE_WRITE"
    text = ""
    next
}

/^[ \t]*--/ { next }

{
    if (name == "") {
        if ($0 !~ /^[ \t]*$/) bad("text before the first -- name:")
        next
    }
    if (text != "" || $0 !~ /^[ \t]*$/) text = text (text == "" ? "" : "\n") $0
}

END {
    if (failed) exit 1
    flush_statement()
    if (failed) exit 1
    if (MODE == "h") {
        print "/* Made by tools/queries.awk from sql/queries. */\n"
        print "#ifndef HIVE_QUERIES_H\n#define HIVE_QUERIES_H\n"
        print "typedef enum {"
        for (i = 1; i <= count; i++) print "    Q_" toupper(names[i]) ","
        print "    QUERIES\n} query_id_t;\n"
        print "typedef enum { LANE_WRITE, LANE_READ, LANE_INSERT } lane_t;\n"
        print "typedef struct {\n    const char *name;\n    const char *text;"
        print "    lane_t lane;\n} query_t;\n"
        print "extern const query_t queries[QUERIES];\n\n#endif"
    } else {
        print "/* Made by tools/queries.awk from sql/queries. */\n"
        print "#include \"queries.h\"\n\nconst query_t queries[QUERIES] = {"
        for (i = 1; i <= count; i++)
            print "    { \"" names[i] "\",\n      " quote(texts[i]) ",\n      " \
                lanes[i] " },"
        print "};"
    }
}
