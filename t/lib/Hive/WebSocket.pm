package Hive::WebSocket;

# WebSocket.pm: a WebSocket client for tests, written from RFC 6455 and 7692
# alone, at two heights.
#
# What is said, as JSON:
#
#     my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws',
#         headers => ["Authorization: Bearer $user->{token}"]);
#     $ws->send_json({ type => 'ping', id => 1 });
#     my $answer = $ws->recv(5);    # { type => 'pong', ... }
#     $ws->close(1000);
#
# How it is said, frame by frame:
#
#     $ws->write(frame(text => 'Hel', fin => 0) . frame(continuation => 'lo'));
#     my $frame = $ws->next_frame(5);    # { opcode => 1, payload => 'Hello', ... }
#     is describe($frame), 'text Hello';
#
# connect(%options) dies when the server does not upgrade:
#   port => ..., host => '127.0.0.1', path => '/ws', timeout => 5
#   headers => ['Name: value', ...]    added to the request
#   deflate => 1          offers permessage-deflate (recv inflates in any case)
#   first => bytes        sent in one write with the request
#   any => 1              returns the object whatever the answer is
# and what else handshake() takes. Then:
#   status(), header(name), head()       of the answer
#   send_json(structure), send_text(bytes), write(bytes)
#   recv(seconds)         the next message decoded; { close => code, reason =>
#                         text } once the other side closes (1005: it gave no
#                         code, 1006: without a close frame); undef when there
#                         is none in time. Answers pings and the close.
#   recv_until(seconds, sub { ... })     the next message for which that is
#                         true ($_[0]; those before it are dropped), or the
#                         close, or undef
#   next_frame(seconds)   { opcode, payload, fin, rsv, masked }, or { eof => 1,
#                         reset => bool }, or undef when there is none in time
#   frames(seconds)       all frames until the other side closes its side of
#                         the connection, or for that long
#   close(code, reason)   sends a close frame
#   drop()                closes the socket without one
#
# Functions, exported:
#   frame(name or opcode => payload, %form)    a masked frame; form: fin => 0,
#       rsv => 4 (RSV1), mask => 4 bytes ('' for none), form => 16 or 64 bits of
#       length, announce => another length than the payload has
#   close_frame(code, reason)
#   handshake(%options)   the text of a request: method, path, version (HTTP's),
#       key, headers, deflate, set => { name => value, undef for none, [values]
#       for several lines } over the headers it must have
#   accept_of(key)        what the server has to answer
#   deflated(bytes, %o)   the payload of a compressed message: level, bits,
#       final => 1 (with BFINAL)
#   inflated(bytes, %o)   the contrary, dies on what is malformed: bits
#   describe(frame)       in words: 'text Hello', 'close 1002 why', 'eof'
#   said(name => payload, %form)    the words for a frame as it should come

use strict;
use warnings;
use Carp qw(croak);
use Compress::Raw::Zlib qw(Z_OK Z_BUF_ERROR Z_SYNC_FLUSH Z_FINISH);
use Digest::SHA qw(sha1 sha1_hex);
use Exporter qw(import);
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use Mojo::JSON qw(decode_json encode_json);
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

our @EXPORT_OK = qw(frame close_frame handshake accept_of deflated inflated describe said);
our %EXPORT_TAGS = (all => \@EXPORT_OK);

my %opcode = (continuation => 0, text => 1, binary => 2, close => 8, ping => 9, pong => 10);
my %name = reverse %opcode;

# ---- frames ----

sub frame {
    my ($what, $payload, %o) = @_;
    my $mask = $o{mask} // pack 'N', int rand 2**32;
    my $len = $o{announce} // length $payload;
    my $form = $o{form} // ($len < 126 ? 7 : $len < 65536 ? 16 : 64);
    my $first = ($o{fin} // 1) << 7 | ($o{rsv} // 0) << 4 | ($opcode{$what} // $what);
    my $short = $form == 7 ? $len : $form == 16 ? 126 : 127;
    my $head = pack 'CC', $first, (length $mask ? 128 : 0) | $short;
    $head .= $form == 16 ? pack('n', $len) : $form == 64 ? pack('Q>', $len) : '';
    return $head . $mask . masked($payload, $mask);
}

sub close_frame {
    my ($code, $reason, %o) = @_;
    return frame(close => defined $code ? pack('n', $code) . ($reason // '') : '', %o);
}

sub masked {
    my ($payload, $mask) = @_;
    return $payload unless length $mask;
    my $turns = $mask x (length($payload) / 4 + 1);
    return "$payload" ^ substr $turns, 0, length $payload;
}

sub describe {
    my ($frame) = @_;
    return 'nothing' unless $frame;
    return $frame->{reset} ? 'reset' : 'eof' if $frame->{eof};
    my @words = $name{ $frame->{opcode} } // "opcode $frame->{opcode}";
    my $payload = $frame->{payload};
    if ($frame->{opcode} == 8 && length $payload > 1) {
        push @words, unpack 'n', $payload;
        $payload = substr $payload, 2;
    }
    my $text = $payload =~ s/([^ -~])/sprintf '\x%02x', ord $1/ger;
    $text = length($payload) . ' bytes ' . sha1_hex($payload) if length $text > 120;
    push @words, $text if length $text;
    unshift @words, 'compressed' if $frame->{rsv} == 4;
    unshift @words, "rsv $frame->{rsv}" if $frame->{rsv} & 3;
    unshift @words, 'unfinished' if !$frame->{fin};
    unshift @words, 'masked' if $frame->{masked};
    return join ' ', @words;
}

sub said {
    my ($what, $payload, %o) = @_;
    return describe({ opcode => $opcode{$what} // $what, payload => $payload, fin => 1, rsv => 0, masked => 0, %o });
}

# ---- compression ----

sub deflated {
    my ($bytes, %o) = @_;
    my ($deflate) = Compress::Raw::Zlib::Deflate->new(-AppendOutput => 1, -WindowBits => -($o{bits} // 15),
        -Level => $o{level} // 6) or croak 'deflate';
    my $out = '';
    $deflate->deflate($bytes, $out) == Z_OK or croak 'deflate';
    if ($o{final}) {
        $deflate->flush($out, Z_FINISH) == Z_OK or croak 'deflate';
        return "$out\0";
    }
    $deflate->flush($out, Z_SYNC_FLUSH) == Z_OK or croak 'deflate';
    $out =~ s/\0\0\xff\xff\z// or croak 'deflate: no tail';
    return $out;
}

# So little at a time that zlib has to find in its window what it refers to.
sub inflated {
    my ($bytes, %o) = @_;
    my ($inflate) = Compress::Raw::Zlib::Inflate->new(-WindowBits => -($o{bits} // 15), -LimitOutput => 1,
        -Bufsize => $o{bits} ? 16 : 65536) or croak 'inflate';
    my ($in, $out) = ("$bytes\0\0\xff\xff", '');
    while (1) {
        my $status = $inflate->inflate($in, my $piece);
        croak "inflate: $status" unless $status == Z_OK || $status == Z_BUF_ERROR;
        return $out unless length $piece || length $in;
        $out .= $piece;
    }
}

# ---- handshake ----

sub new_key { return encode_base64(join('', map { chr int rand 256 } 1 .. 16), '') }

sub accept_of {
    my ($key) = @_;
    return encode_base64(sha1($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'), '');
}

sub handshake {
    my (%o) = @_;
    my @must = (Host => 'localhost', Upgrade => 'websocket', Connection => 'Upgrade',
        'Sec-WebSocket-Key' => $o{key} // new_key(), 'Sec-WebSocket-Version' => 13);
    my $text = join ' ', $o{method} // 'GET', $o{path} // '/ws', ($o{version} // 'HTTP/1.1') . "\r\n";
    while (my ($header, $value) = splice @must, 0, 2) {
        $value = $o{set}{$header} if $o{set} && exists $o{set}{$header};
        $text .= "$header: $_\r\n" for grep { defined } ref $value ? @$value : $value;
    }
    my @more = @{ $o{headers} // [] };
    push @more, 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits' if $o{deflate};
    return $text . join('', map { "$_\r\n" } @more) . "\r\n";
}

sub connect {
    my ($class, %o) = @_;
    my $self = $class->open_socket(%o);
    my $key = $o{key} // new_key();
    $self->write(handshake(%o, key => $key) . ($o{first} // ''));
    $self->read_head($o{timeout} // 5);
    return $self if $o{any};
    croak 'no upgrade: ' . ($self->{head} || 'no answer') unless $self->status == 101;
    croak "not the key's answer: " . ($self->header('Sec-WebSocket-Accept') // '')
        unless ($self->header('Sec-WebSocket-Accept') // '') eq accept_of($key);
    return $self;
}

# A connection on which nothing was said yet.
sub open_socket {
    my ($class, %o) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $o{host} // '127.0.0.1', PeerPort => $o{port}, Timeout => 5)
        or croak "connect: $@";
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    $socket->blocking(0);
    return bless { socket => $socket, in => '', head => '' }, $class;
}

# The head of an answer, without its body; '' when there is none in time.
sub read_head {
    my ($self, $seconds) = @_;
    my $until = time + $seconds;
    my $end;
    while (($end = index $self->{in}, "\r\n\r\n") < 0) {
        return '' unless $self->fill($until);
    }
    $self->{head} = substr $self->{in}, 0, $end + 2;
    substr $self->{in}, 0, $end + 4, '';
    return $self->{head};
}

sub head { $_[0]{head} }
sub status { $_[0]{head} =~ m{^HTTP/1\.1 (\d+) } ? $1 : 0 }

# The value; several lines of that name are joined.
sub header {
    my ($self, $header) = @_;
    my @values = $self->{head} =~ /^\Q$header\E:[ \t]*(.*?)[ \t]*\r$/mig;
    return @values ? join ', ', @values : undef;
}

# ---- bytes ----

# Waits for bytes until that time and keeps them; true when there are more.
sub fill {
    my ($self, $until) = @_;
    return 0 if $self->{eof};
    my $left = $until - time;
    vec(my $set = '', $self->{socket}->fileno, 1) = 1;
    return 0 unless select $set, undef, undef, $left > 0 ? $left : 0;
    return $self->take;
}

sub take {
    my ($self) = @_;
    my $got = sysread $self->{socket}, $self->{in}, 1 << 18, length $self->{in};
    return 1 if $got;
    return 0 if !defined $got && ($!{EAGAIN} || $!{EINTR});
    $self->{eof} = 1;
    $self->{reset} = !defined $got;
    return 0;
}

# Sends all of them, and takes what comes meanwhile: neither side waits for
# the other. False when the other side does not take them any more.
sub write {
    my ($self, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my ($at, $until) = (0, time + 30);
    while ($at < length $bytes) {
        my $put = syswrite $self->{socket}, $bytes, 1 << 18, $at;
        if (defined $put) {
            $at += $put;
            next;
        }
        return 0 unless $!{EAGAIN} || $!{EINTR};
        croak 'the other side does not read' if time > $until;
        my ($read, $write) = ('', '');
        vec($read, $self->{socket}->fileno, 1) = 1 unless $self->{eof};
        vec($write, $self->{socket}->fileno, 1) = 1;
        select $read, $write, undef, 1;
        $self->take if vec $read, $self->{socket}->fileno, 1;
    }
    return 1;
}

# Each byte in a write of its own, until the other side says that it closes:
# what is sent to a closed socket may cost what that said.
sub write_bytewise {
    my ($self, $bytes) = @_;
    for my $byte (split //, $bytes) {
        $self->fill(0);
        return 0 if $self->{eof} || $self->closing;
        $self->write($byte) or return 0;
    }
    return 1;
}

# Whether a close frame is among what has come and was not read yet.
sub closing {
    my ($self) = @_;
    my ($copy, $closing) = ($self->{in}, 0);
    while (my $frame = take_frame(\$copy)) {
        $closing ||= $frame->{opcode} == 8;
    }
    return $closing;
}

# ---- frames that come ----

# The first whole frame of the bytes, taken off them.
sub take_frame {
    my ($bytes) = @_;
    return if length $$bytes < 2;
    my ($first, $second) = unpack 'CC', $$bytes;
    my ($at, $len) = (2, $second & 127);
    if ($len == 126) {
        return if length $$bytes < 4;
        ($at, $len) = (4, unpack 'n', substr $$bytes, 2, 2);
        croak 'a length not in its shortest form' if $len < 126;
    }
    elsif ($len == 127) {
        return if length $$bytes < 10;
        ($at, $len) = (10, unpack 'Q>', substr $$bytes, 2, 8);
        croak 'a length not in its shortest form' if $len < 65536 || $len >= 2**63;
    }
    my $mask = $second & 128 ? substr $$bytes, $at, 4 : '';
    $at += 4 if $second & 128;
    return if length $$bytes < $at + $len;
    my $payload = masked(substr($$bytes, $at, $len), $mask);
    substr $$bytes, 0, $at + $len, '';
    return { fin => $first >> 7, rsv => $first >> 4 & 7, opcode => $first & 15, payload => $payload,
        masked => $second >> 7 };
}

sub next_frame {
    my ($self, $seconds) = @_;
    my $until = time + $seconds;
    while (1) {
        my $frame = take_frame(\$self->{in});
        return $frame if $frame;
        return { eof => 1, reset => $self->{reset} } if $self->{eof};
        next if $self->fill($until) || $self->{eof};
        return if time >= $until;
    }
}

sub frames {
    my ($self, $seconds) = @_;
    my ($until, @frames) = time + $seconds;
    while (my $frame = $self->next_frame($until - time)) {
        push @frames, $frame;
        last if $frame->{eof};
    }
    return @frames;
}

# ---- messages ----

sub send_text { $_[0]->write(frame(text => $_[1])) }
sub send_json { $_[0]->write(frame(text => encode_json($_[1]))) }

sub close {
    my ($self, @why) = @_;
    return if $self->{closed}++;
    return $self->write(close_frame(@why));
}

sub drop {
    my ($self) = @_;
    CORE::close $self->{socket};
    $self->{eof} = 1;
    return;
}

sub recv {
    my ($self, $seconds) = @_;
    my $until = time + $seconds;
    while (my $frame = $self->next_frame($until - time)) {
        return { close => 1006, reason => '' } if $frame->{eof};
        if ($frame->{opcode} == 8) {
            my ($code, $reason) = length $frame->{payload} ? unpack 'na*', $frame->{payload} : (1005, '');
            $self->close($code == 1005 ? () : $code);
            return { close => $code, reason => $reason };
        }
        if ($frame->{opcode} >= 8) {
            $self->write(frame(pong => $frame->{payload})) if $frame->{opcode} == 9;
            next;
        }
        my $message = $self->{message} //= { text => '', compressed => $frame->{rsv} & 4 };
        $message->{text} .= $frame->{payload};
        next unless $frame->{fin};
        delete $self->{message};
        return decode_json($message->{compressed} ? inflated($message->{text}) : $message->{text});
    }
    return;
}

sub recv_until {
    my ($self, $seconds, $code) = @_;
    my $until = time + $seconds;
    while (my $message = $self->recv($until - time)) {
        return $message if ref $message eq 'HASH' && exists $message->{close} || $code->($message);
    }
    return;
}

1;
