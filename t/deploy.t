# deploy.t: what README and conf/ tell an administrator is what module and
# worker know: every directive and key, with its default; the examples are
# good as installed.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;
use File::Temp ();
use Hive::Test;

my $top = "$Bin/..";
my $build = Hive::Test->build;
my $dir = File::Temp->newdir;
my $readme = Hive::Test::slurp("$top/README.md");

# What the worker says of itself: { section => { key => default } }.
sub reference {
    my (%keys, $section);
    for (split /\n/, `'$build/hive-worker' --reference`) {
        if (/^\| \*\*\[(\w+)\]/) { $section = $1 }
        elsif (/^\| `(\w+)` \| [^|]+ \| (?:`([^`]*)`|(\w+)) \|/) { $keys{$section}{$1} = $2 // ($3 eq 'empty' ? '' : $3) }
    }
    return \%keys;
}

# The same, as the README's table of worker.ini has it.
sub told {
    my ($table) = $readme =~ /^## worker\.ini\n(.*?)^## /ms;
    my (%keys, $section);
    for (split /\n/, $table) {
        next unless /^\| (\w*) ?\| `(\w+)` \| *(?:`([^`]*)`|(\w*)) *\|/;
        $section = $1 if $1;
        $keys{$section}{$2} = $3 // $4;
    }
    return \%keys;
}

my $reference = reference();
cmp_ok scalar(map { keys %$_ } values %$reference), '>', 20, 'the worker prints its keys';
is_deeply told(), $reference, 'README has each of them, with its default' or diag explain told();

my %known = map { $_ => 1 } Hive::Test::slurp("$top/ngx_module/ngx_http_hive_module.c") =~ /\{ ngx_string\("(hive\w*)"\),/g;
cmp_ok scalar(keys %known), '>', 5, 'the module has directives';
my ($table) = $readme =~ /^## nginx directives\n(.*?)^Variables/ms;
is_deeply [sort $table =~ /^\| `(hive\w*) /mg], [sort keys %known], 'README has each directive';
my @variables = Hive::Test::slurp("$top/ngx_module/ngx_http_hive_variables.c") =~ /\{ ngx_string\("(hive_\w+)"\)/g;
is_deeply [sort $readme =~ /`\$(hive_\w+)`/g], [sort @variables], 'and each variable';

subtest 'what is installed' => sub {
    my %kind = ('build-asan' => 'SANITIZE=1', 'build-cov' => 'COVERAGE=1');
    my $kind = $kind{ $ENV{HIVE_BUILD} // '' } // '';
    my $install = sub { `make -s -C '$top' -o all $kind install DESTDIR='$dir' 2>&1` };
    is $install->(), '', 'make install';
    my @all = ("$dir/etc/hive/worker.ini", "$dir/etc/nginx/hive.conf", "$dir/usr/bin/hive-worker",
        "$dir/usr/bin/hivectl", "$dir/usr/share/man/man1/hivectl.1",
        "$dir/usr/lib/nginx/modules/ngx_http_hive_module.so", "$dir/usr/lib/systemd/system/hive-worker.service",
        map { "$dir/usr/share/hive/$_" } qw(README.md sql/sqitch.plan web/web.conf conf/nginx.conf conf/nginx-hive.conf));
    is_deeply [grep { !-f } @all], [], 'is all there';
    Hive::Test::append("$dir/etc/hive/worker.ini", "; mine\n");
    $install->();
    like Hive::Test::slurp("$dir/etc/hive/worker.ini"), qr/; mine$/, 'and leaves what is configured';

    # the paths of the examples, as if the folder were the root
    system("openssl ecparam -genkey -name prime256v1 -noout -out '$dir/etc/hive/token.key' 2>/dev/null"
        . " && openssl ec -in '$dir/etc/hive/token.key' -pubout -out '$dir/etc/hive/token.pub' 2>/dev/null") == 0 or die 'openssl';
    my $ini = Hive::Test::slurp("$dir/etc/hive/worker.ini");
    my %has;
    my $section;
    for (split /\n/, $ini) {
        if (/^\[(\w+)\]/) { $section = $1 }
        elsif (/^(\w+?)(?:_file)? = /) { $has{$section}{$1} = 1 }
    }
    is_deeply \%has, { map { my $name = $_; $name => { map { $_ => 1 } keys %{ $reference->{$name} } } } keys %$reference },
        'worker.ini has every key';
    $ini =~ s{/etc/hive}{$dir/etc/hive}g;
    Hive::Test::spew("$dir/etc/hive/worker.ini", $ini);
    my $said = `'$dir/usr/bin/hive-worker' -c '$dir/etc/hive/worker.ini' --check 2>&1`;
    is $?, 0, 'and is right' or diag $said;

    return if $kind =~ /SANITIZE/;    # nginx itself is not built for it
    mkdir "$dir/log";
    my $port = Hive::Test::free_port();
    for my $file ("$dir/etc/nginx/hive.conf", "$dir/usr/share/hive/conf/nginx.conf") {
        my $text = Hive::Test::slurp($file);
        $text =~ s{(?<= )/(etc/hive|etc/nginx/hive|usr/share/hive)}{$dir/$1}g;
        $text =~ s{/var/log/nginx|/run(?=/nginx\.pid)}{$dir/log}g;
        $text =~ s{^load_module }{load_module $dir/usr/lib/nginx/}m;
        $text =~ s{^    listen \[::\]:80;\n}{}m;
        $text =~ s{listen 80;}{listen 127.0.0.1:$port;};
        Hive::Test::spew($file, $text);
    }
    $said = `/usr/sbin/nginx -t -e '$dir/log/error.log' -c '$dir/usr/share/hive/conf/nginx.conf' 2>&1`;
    is $?, 0, 'nginx takes its example' or diag $said;
};

done_testing;
