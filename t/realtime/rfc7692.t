# rfc7692.t: each rule of RFC 7692 that binds a server, against nginx: what
# is offered and answered, what is sent and what must come back. Every rule's
# bytes are sent as a whole, and again each in a TCP segment of its own.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::WebSocket qw(:all);
use Test::More;
use Time::HiRes qw(time);

my $hive = Hive::Test->start(postgres => 0, worker => 0, wait => 0, nginx_workers => 1,
    server => '        location = /echo { hive_websocket_echo on; }');

sub offering {
    my (@offers) = @_;
    return Hive::WebSocket->connect(port => $hive->port, path => '/echo', any => 1,
        headers => [map { "Sec-WebSocket-Extensions: $_" } @offers]);
}

# ---- 5, 7.1: what is agreed on ----

my $pmd = 'permessage-deflate';
my $agreed = "$pmd; server_no_context_takeover; client_no_context_takeover";

# [section, rule, offers (a line each), answer (undef: none), or a status]
my @offers = (
    ['5', 'nothing offered, nothing agreed', [], undef],
    ['5', 'the plain offer', [$pmd], $agreed],
    ['5', 'what browsers offer', ["$pmd; client_max_window_bits"], $agreed],
    ['5', 'another extension is passed over', ["foo; bar=1, $pmd"], $agreed],
    ['5', 'and so is one that follows', ["$pmd, foo; bar=1"], $agreed],
    ['5', 'one by a name that begins like it', ["$pmd-x"], undef],
    ['5', 'the old x-webkit-deflate-frame', ['x-webkit-deflate-frame'], undef],
    ['5', 'offers in two lines', ['foo', $pmd], $agreed],
    ['5', 'the first offer that can be kept', ["$pmd; foo, $pmd; server_max_window_bits=12, $pmd"], "$agreed; server_max_window_bits=12"],
    ['5', 'offers in the order of their lines', ["$pmd; server_max_window_bits=11", $pmd], "$agreed; server_max_window_bits=11"],
    ['5.1', 'a parameter that is not defined declines', ["$pmd; foo"], undef],
    ['5.1', 'a parameter that is not defined declines with a value', ["$pmd; max_window_bits=10"], undef],
    ['7.1', 'twice the same parameter declines', ["$pmd; client_max_window_bits; client_max_window_bits"], undef],
    ['7.1', 'twice the same with values', ["$pmd; server_max_window_bits=10; server_max_window_bits=10"], undef],
    ['7.1', 'a declined offer is followed by the next', ["$pmd; foo, $pmd"], $agreed],
    ['7.1.1.1', 'server_no_context_takeover', ["$pmd; server_no_context_takeover"], $agreed],
    ['7.1.1.1', 'with a value declines', ["$pmd; server_no_context_takeover=1"], undef],
    ['7.1.1.2', 'client_no_context_takeover', ["$pmd; client_no_context_takeover"], $agreed],
    ['7.1.1.2', 'with a value declines', ["$pmd; client_no_context_takeover=1"], undef],
    (map { ['7.1.2.1', "server_max_window_bits=$_", ["$pmd; server_max_window_bits=$_"], "$agreed; server_max_window_bits=$_"] } 9 .. 15),
    (map { ['7.1.2.1', "server_max_window_bits$_ declines", ["$pmd; server_max_window_bits$_"], undef] }
        '', '=8', '=7', '=0', '=16', '=100', '=010', '=09', '=-9', '=+9', '=9.0', '=x', '=1x', '="16"'),
    ['7.1.2.1', 'a quoted value', ["$pmd; server_max_window_bits=\"10\""], "$agreed; server_max_window_bits=10"],
    (map { ['7.1.2.2', "client_max_window_bits$_ needs no answer", ["$pmd; client_max_window_bits$_"], $agreed] } '', '=8', '=15', '="10"'),
    (map { ['7.1.2.2', "client_max_window_bits$_ declines", ["$pmd; client_max_window_bits$_"], undef] } '=7', '=16', '=08', '=x', '=0'),
    ['7.1.3', 'all at once', ["$pmd;server_no_context_takeover ; client_no_context_takeover; server_max_window_bits = 10; client_max_window_bits=9"],
        "$agreed; server_max_window_bits=10"],
    (map { ['6455 9.1', "malformed: $_", [$_], 400] }
        "$pmd;", "$pmd; =1", "$pmd; server_max_window_bits=", "$pmd; server_max_window_bits=\"10", "$pmd foo", "$pmd, \@", 'foo; a="b c"'),
);

for my $rule (@offers) {
    my ($section, $name, $lines, $answer) = @$rule;
    my $ws = offering(@$lines);
    if (($answer // '') =~ /^\d+$/) {
        is $ws->status, $answer, "$section $name" or diag $ws->head;
        next;
    }
    is $ws->header('Sec-WebSocket-Extensions'), $answer, "$section $name" or diag $ws->head;
    $ws->write(frame(ping => 'alive'));
    is describe($ws->next_frame(5)), 'pong alive', "$section $name: a connection";
    $ws->drop;
}

# ---- 6, 7.2: messages ----

sub text { frame(text => @_) }
sub binary { frame(binary => @_) }
sub ping { frame(ping => @_) }

# A compressed message, in so many frames.
sub compressed {
    my ($what, $payload, $frames) = @_;
    $frames //= 1;
    my $size = int(length($payload) / $frames) + 1;
    my @parts = unpack "(a$size)*", $payload;
    push @parts, '' while @parts < $frames;
    my $last = $#parts;
    return join '', map { frame($_ ? 'continuation' : $what, $parts[$_], rsv => $_ ? 0 : 4, fin => $_ == $last) } 0 .. $last;
}

sub packed { return compressed($_[0], deflated($_[1]), $_[2]) }

# What must come back. Which of its messages a server compresses is its own
# affair (6): one that is compressed is told by what it holds.
sub told {
    my ($frame) = @_;
    if ($frame && !$frame->{eof} && $frame->{rsv} == 4) {
        my $inflated = eval { inflated($frame->{payload}) };
        return 'no DEFLATE: ' . describe($frame) unless defined $inflated;
        return describe({ %$frame, rsv => 0, payload => $inflated });
    }
    return describe($frame);
}

sub fails { return qr/^close $_[0]\b/ }

my $json = join ',', map { qq({"type":"project.updated","offset":$_,"data":{"name":"Project $_"}}) } 1 .. 40;
my $noise = join '', map { chr(($_ * 7919 + ($_ >> 3) * 104729) % 251) } 1 .. 5000;
my @rules = (
    # 6
    ['6', 'a compressed message', packed(text => 'Hello, Hello, Hello'), said(text => 'Hello, Hello, Hello')],
    ['6', 'binary too', packed(binary => "\0\xff" x 20), said(binary => "\0\xff" x 20)],
    ['6', 'a message that is not compressed', text('Hello'), 'text Hello'],
    ['6', 'both side by side', packed(text => 'a' x 50) . text('b') . packed(binary => 'c' x 50) . binary('d'),
        said(text => 'a' x 50), 'text b', said(binary => 'c' x 50), 'binary d'],
    ['6', 'a message of JSON', packed(text => $json), said(text => $json)],
    ['6', 'what does not compress', packed(binary => $noise), said(binary => $noise)],
    ['6', 'RSV1 of a continuation closes', frame(text => "\xf2\x48\xcd", rsv => 4, fin => 0) . frame(continuation => "\xc9\xc9\x07\x00", rsv => 4), fails(1002)],
    ['6', 'RSV1 of a continuation alone closes', frame(text => 'a', fin => 0) . frame(continuation => 'b', rsv => 4), fails(1002)],
    (map { ['6', "RSV1 of a $_ closes", frame($_ => '', rsv => 4), fails(1002)] } qw(ping pong close)),
    ['6', 'RSV1 of a ping inside a message closes', frame(text => "\xf2\x48\xcd", rsv => 4, fin => 0) . ping('', rsv => 4), fails(1002)],
    ['6', 'RSV2 closes', text('a', rsv => 2), fails(1002)],
    ['6', 'RSV3 closes', text('a', rsv => 1), fails(1002)],
    ['6', 'RSV1 and RSV2 close', text("\xf2\x48\xcd\xc9\xc9\x07\x00", rsv => 6), fails(1002)],
    ['6', 'control frames are never compressed', ping('Hello, Hello, Hello') . packed(text => 'a'), 'pong Hello, Hello, Hello', said(text => 'a')],

    # 6.1, 6.2
    (map { ['6.1', "a compressed message in $_ frames", packed(text => $json, $_), said(text => $json)] } 2, 3, 7, 100),
    ['6.1', 'the first frame without payload', frame(text => '', rsv => 4, fin => 0) . frame(continuation => deflated('Hello')), said(text => 'Hello')],
    ['6.1', 'the last frame without payload', frame(text => deflated('Hello'), rsv => 4, fin => 0) . frame(continuation => ''), said(text => 'Hello')],
    ['6.1', 'a ping between its frames',
        frame(text => "\xf2\x48\xcd", rsv => 4, fin => 0) . ping('x') . frame(continuation => "\xc9\xc9\x07\x00"), 'pong x', said(text => 'Hello')],
    ['6.1', 'a message that is not compressed, in frames', frame(text => 'Hel', fin => 0) . frame(continuation => 'lo'), 'text Hello'],
    ['6.2', 'a character cut by frames before it is inflated', packed(text => "\xf0\x9f\x90\x9d" x 9, 5), said(text => "\xf0\x9f\x90\x9d" x 9)],

    # 7.2.3: the examples
    ['7.2.3.1', 'one block', compressed(text => "\xf2\x48\xcd\xc9\xc9\x07\x00"), said(text => 'Hello')],
    ['7.2.3.1', 'in two frames', frame(text => "\xf2\x48\xcd", rsv => 4, fin => 0) . frame(continuation => "\xc9\xc9\x07\x00"), said(text => 'Hello')],
    ['7.2.3.2', 'a message that refers to the one before closes, since none may',
        compressed(text => "\xf2\x48\xcd\xc9\xc9\x07\x00") . compressed(text => "\xf2\x00\x11\x00\x00"), said(text => 'Hello'), fails(1007)],
    ['7.2.3.3', 'a block without compression', compressed(text => "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), said(text => 'Hello')],
    ['7.2.3.4', 'a block with BFINAL set', compressed(text => "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), said(text => 'Hello')],
    ['7.2.3.4', 'and messages after it', packed(text => 'a') . compressed(text => deflated($json, final => 1)) . packed(text => 'b'),
        said(text => 'a'), said(text => $json), said(text => 'b')],
    ['7.2.3.5', 'two blocks', compressed(text => "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), said(text => 'Hello')],
    ['7.2.3.6', 'a message without bytes', compressed(text => "\x00"), said(text => '')],
    ['7.2.3.6', 'as zlib makes it', packed(binary => ''), said(binary => '')],
    (map { ['7.2.1', "any level: $_", compressed(text => deflated($json, level => $_)), said(text => $json)] } 0 .. 9),
    (map { ['7.2.1', "any window of the client: $_", compressed(binary => deflated($noise x 3, bits => $_)), said(binary => $noise x 3)] } 9 .. 15),

    # 7.2.2
    ['7.2.2', 'a payload that is not DEFLATE closes', compressed(text => 'Hello, Hello, Hello'), fails(1007)],
    ['7.2.2', 'an unknown type of block closes', compressed(binary => "\xff"), fails(1007)],
    ['7.2.2', 'lengths that do not match close', compressed(text => "\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00"), fails(1007)],
    ['7.2.2', 'a block that breaks off closes', compressed(text => "\x00\xff\x00\x00\xff\x48\x65\x6c\x6c\x6f"), fails(1007)],
    ['7.2.2', 'no block at all closes', compressed(text => ''), fails(1007)],
    ['7.2.2', 'what came before is answered', packed(text => 'a') . compressed(text => "\xff") . packed(text => 'b'), said(text => 'a'), fails(1007)],

    # 8.1 of RFC 6455, once it is inflated
    ['6455 8.1', 'text that is not UTF-8 once it is inflated closes', packed(text => "Hello \xff"), fails(1007)],
    ['6455 8.1', 'a surrogate closes', packed(text => "\xed\xa0\x80"), fails(1007)],
    ['6455 8.1', 'a character that breaks off closes', packed(text => "Hello \xe2\x82"), fails(1007)],
    ['6455 8.1', 'in frames too', packed(text => "Hello \xff and more of it", 3), fails(1007)],
    ['6455 8.1', 'binary may be anything', packed(binary => "\xff\xfe\xc0\x80"), said(binary => "\xff\xfe\xc0\x80")],
    ['6455 8.1', 'text in UTF-8', packed(text => "\xe2\x82\xac 5 \xf0\x9f\x90\x9d"), said(text => "\xe2\x82\xac 5 \xf0\x9f\x90\x9d")],
    ['6455 8.1', 'what is not compressed is looked at too', text("Hello \xff"), fails(1007)],
    ['6455 8.1', 'at its first bad byte', text("Hello \xff", announce => 1000), fails(1007)],

    # 8: what costs more than it weighs
    ['8', 'the longest message', packed(text => 'x' x 1048576), said(text => 'x' x 1048576)],
    ['8', 'a byte more closes', packed(text => 'x' x 1048577), fails(1009)],
    ['8', '32 MiB in 32 KiB close', packed(binary => "\0" x 33554432), fails(1009)],
    ['8', 'in frames too', packed(binary => "\0" x 10485760, 100), fails(1009)],
    ['8', 'what came before is answered', packed(text => 'a') . packed(text => 'x' x 2000000), said(text => 'a'), fails(1009)],
    ['8', 'a message longer than may be closes by its header', frame(binary => '', rsv => 4, announce => 1048577), fails(1009)],
);

# As in rfc6455.t: a rule that closes ends with the connection, others go on.
sub check {
    my ($rule, $bytewise) = @_;
    my ($section, $name, $bytes, @expected) = @$rule;
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/echo', deflate => 1);
    if ($bytewise) { $ws->write_bytewise($bytes) }
    else { $ws->write($bytes) }
    my $closes = "$expected[-1]" =~ /\bclose\b/;
    push @expected, 'eof' if $closes;
    my @got;
    while (@got < @expected) {
        push @got, told($ws->next_frame(5));
        last if $got[-1] =~ /^(?:eof|reset|nothing)$/;
    }
    if (!$closes) {
        $ws->write(ping('alive'));
        push @got, told($ws->next_frame(5));
        push @expected, 'pong alive';
    }
    $ws->drop;
    my $same = @got == @expected;
    for my $i (0 .. $#expected) {
        $same &&= ref $expected[$i] ? $got[$i] =~ $expected[$i] : $got[$i] eq $expected[$i];
    }
    ok $same, "$section $name" . ($bytewise ? ', byte by byte' : '')
        or diag join "\n", 'got:', (map { "    $_" } @got), 'expected:', map { "    $_" } @expected;
    return;
}

for my $rule (@rules) {
    check($rule);
    check($rule, 1) if length $rule->[2] < 400;
}

# ---- what no table holds ----

# 7.1.1.1: no context is taken over, so that the same message is the same.
{
    my $ws = offering($pmd);
    $ws->write(packed(text => $json) x 3);
    my @got = map { $ws->next_frame(5) } 1 .. 3;
    is $got[0]{rsv}, 4, '7.1.1.1 a message comes compressed';
    cmp_ok length $got[0]{payload}, '<', length($json) / 2, '7.1.1.1 which is shorter';
    is $got[$_]{payload}, $got[0]{payload}, '7.1.1.1 and the same each time' for 1, 2;
    $ws->drop;
}

# 7.1.2.1: the data repeats itself beyond each window. A client that has no
# more than it asked for can read it, compressed or not; what fits into its
# window comes compressed.
{
    my $random = join '', map { chr int rand 256 } 1 .. 12000;
    my $data = join '', map { substr($random, 0, 12000), substr $random, 100 * $_, 3000 } 1 .. 4;
    for my $bits (9 .. 15) {
        my $ws = offering("$pmd; server_max_window_bits=$bits");
        for my $message ($data, substr($data, 0, 2**$bits) x 2, 'a short message, ' x 30) {
            $ws->write(packed(binary => $message));
            my $frame = $ws->next_frame(5) // {};
            my $got = ($frame->{rsv} // 0) == 4 ? eval { inflated($frame->{payload}, bits => $bits) } : $frame->{payload};
            ok defined $got && $got eq $message, "7.1.2.1 a window of $bits bits is kept by " . length($message) . ' bytes';
            is $frame->{rsv}, 4, '7.1.2.1 which are compressed' if length $message <= 2**$bits;
        }
        $ws->drop;
    }
}

# 7.2.1: what is sent ends where the tail was, and without BFINAL.
{
    my $ws = offering($pmd);
    for my $message ($json, $json x 100, 'x' x 100_000, join '', map { chr 32 + int rand 64 } 1 .. 100_000) {
        $ws->write(packed(text => $message));
        my $frame = $ws->next_frame(5);
        my $name = 'of ' . length($message) . ' bytes';
        is $frame->{rsv}, 4, "7.2.1 a message $name is compressed";
        cmp_ok length $frame->{payload}, '<', length $message, "7.2.1 $name is shorter";
        unlike $frame->{payload}, qr/\0\0\xff\xff\z/, "7.2.1 $name has no tail";
        ok eval { inflated($frame->{payload}) eq $message }, "7.2.1 $name is the message";
    }
    $ws->drop;
}

# 6: RSV1 means nothing where it was not agreed on.
for my $offer ([], ["$pmd; server_max_window_bits=8"]) {
    my $ws = offering(@$offer);
    $ws->write(packed(text => 'Hello'));
    like describe($ws->next_frame(5)), qr/^close 1002\b/, '5 RSV1 closes when ' . (@$offer ? 'the offer was declined' : 'nothing was offered');
    $ws->drop;
}

{
    my $ws = offering($pmd);
    my @messages = map { $_ % 3 ? "message $_ " x 20 : "message $_" } 1 .. 100;
    $ws->write(join '', map { $_ % 3 ? packed(text => $messages[$_ - 1], 1 + $_ % 4) : text($messages[$_ - 1]) } 1 .. 100);
    is_deeply [map { told($ws->next_frame(5)) } @messages], [map { $_ % 3 ? said(text => $messages[$_ - 1]) : "text $messages[$_ - 1]" } 1 .. 100],
        '6 a hundred messages in one write, in order';
    my $bytes = packed(binary => "\0" x 20_000_000);
    my $began = time;
    for (1 .. 20) {
        my $bomb = offering($pmd);
        $bomb->write($bytes);
        like describe($bomb->next_frame(5)), qr/^close 1009\b/, "8 bomb $_";
        $bomb->drop;
    }
    $ws->write(ping('alive'));
    is describe($ws->next_frame(5)), 'pong alive', '8 others go on';
    cmp_ok time - $began, '<', 10, '8 and do not wait long';
    $ws->drop;
}

$hive->stop;
done_testing;
