# layers.t: a folder includes only from those below it.

use strict;
use warnings;
use Test::More;
use File::Temp ();
use FindBin qw($Bin);

my $found = `'$Bin/../tools/layers' '$Bin/..'`;
is $found, '', 'every #include keeps the layer rule';

# the check itself sees what it should
my $dir = File::Temp->newdir;
for my $path (qw(common/a.h workers/db/b.h workers/db/deep.h workers/work/work.h workers/work/inner.h
    workers/identity/identity.h workers/realtime/realtime.h ngx_module/m.c)) {
    (my $folder = "$dir/$path") =~ s{/[^/]+$}{};
    system 'mkdir', '-p', $folder;
    write_file($path, '');
}

sub write_file {
    my ($path, $text) = @_;
    open my $fh, '>', "$dir/$path" or die "$path: $!";
    print $fh $text;
    close $fh;
}

sub breaks {
    my ($path, $include) = @_;
    write_file($path, qq(#include "$include"\n));
    my $said = `'$Bin/../tools/layers' '$dir'`;
    write_file($path, '');
    return $said ? 1 : 0;
}

is breaks('workers/work/work.h', 'workers/db/b.h'), 0, 'a subject may use the database';
is breaks('workers/db/b.h', 'workers/work/work.h'), 1, 'the database knows no subject';
is breaks('common/a.h', 'workers/db/b.h'), 1, 'common knows no worker';
is breaks('workers/work/inner.h', 'work.h'), 0, 'inside a folder everything is open';
is breaks('workers/work/work.h', 'workers/identity/identity.h'), 0, 'work may use identity by its face';
is breaks('workers/identity/identity.h', 'workers/realtime/realtime.h'), 1, 'subjects of one rank stay apart';
is breaks('ngx_module/m.c', 'common/a.h'), 0, 'the module uses common';
is breaks('ngx_module/m.c', 'workers/db/b.h'), 1, 'the module uses no worker code';
is breaks('workers/main.c', 'workers/work/inner.h'), 1, 'of a subject only its face';
is breaks('workers/main.c', 'workers/work/work.h'), 0, 'the worker sees every face';
is breaks('workers/main.c', 'workers/gone.h'), 1, 'an include of nothing';

done_testing;
