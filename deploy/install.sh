#!/usr/bin/env bash
# Installs the agent on 64-bit Raspberry Pi OS, Debian, Ubuntu or JetPack 6. `install.sh --help` says how.
#
# Running it again upgrades: the configuration, the password and what waits on disk are never touched.
set -euo pipefail

site="" device="" broker="" username="" password_file="" model="" camera=""
from="" python="" onnxruntime="" root="" action=install
on_jetson="" ask=yes dry_run=no start=yes unfinished=""

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

trap '[ -z "$unfinished" ] || rm -rf "$unfinished"' EXIT

usage() {
    cat <<'USAGE'
sudo deploy/install.sh [options]        install the agent, or upgrade it

What the first configuration says; asked for when not given:
  --site SLUG            of the site, such as greenhouse
  --device SLUG          of this device, unique within its site, such as pi-roof
  --broker URL           mqtt://host[:1883] or mqtts://host[:8883]
  --username NAME        at the broker
  --password-file FILE   with the password at the broker in its first line; it is copied
  --model FILE           an ONNX file; it is copied
  --camera DEVICE        such as /dev/v4l/by-id/usb-…-video-index0 (default: the first one found)

What is installed:
  --from WHAT            a checkout, a wheel, or what pip understands (default: the checkout of this script)
  --python COMMAND       Python 3.10 or newer (default: python3)
  --jetson               this is a Jetson (default: found out); --no-jetson: it is none
  --onnxruntime WHEEL    on a Jetson: NVIDIA's build, if it is not installed on the system

How:
  --yes                  ask nothing
  --no-start             do not start the service
  --dry-run              say what would be done
  --root DIR             install below DIR, to try it: no user, no service, no packages
  --uninstall            remove the service and the program; configuration and data stay
  --purge                with --uninstall: remove those and the user, too
USAGE
}

say() { printf 'vigie: %s\n' "$*"; }
fail() {
    printf 'vigie: %s\n' "$*" >&2
    exit 1
}

# Run a command, or say it.
run() {
    if [ "$dry_run" = yes ]; then
        printf 'would run: %s\n' "$*"
    else
        "$@"
    fi
}

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --site | --device | --broker | --username | --password-file | --model | --camera | --from | --python | \
                --onnxruntime | --root)
                [ $# -ge 2 ] || fail "$1 needs a value; see --help"
                local name="${1#--}"
                printf -v "${name//-/_}" '%s' "$2"
                shift 2
                ;;
            --jetson) on_jetson=yes && shift ;;
            --no-jetson) on_jetson=no && shift ;;
            --yes) ask=no && shift ;;
            --no-start) start=no && shift ;;
            --dry-run) dry_run=yes && shift ;;
            --uninstall) action=uninstall && shift ;;
            --purge) action=purge && shift ;;
            -h | --help) usage && exit 0 ;;
            *) fail "there is no option '$1'; see --help" ;;
        esac
    done
    check_values
    [ -z "$root" ] || root="$(realpath -m "$root")"
    opt="$root/opt/vigie" etc="$root/etc/vigie" var="$root/var/lib/vigie"
    unit="$root/etc/systemd/system/vigie-agent.service" link="$root/usr/local/bin/vigie-agent"
}

check_values() {
    local slug='^[a-z0-9][a-z0-9-]{1,31}$'
    [ -z "$site" ] || [[ "$site" =~ $slug ]] ||
        fail "--site must be 2 to 32 of a-z, 0-9 and '-', got '$site'"
    [ -z "$device" ] || [[ "$device" =~ $slug ]] ||
        fail "--device must be 2 to 32 of a-z, 0-9 and '-', got '$device'"
    [ -z "$broker" ] || [[ "$broker" =~ ^mqtts?://[^/@[:space:]\"]+$ ]] ||
        fail "--broker must be mqtt://host[:port] or mqtts://host[:port] without credentials"
    [[ "$username$camera" != *[\"\\]* ]] || fail "--username and --camera must not hold quotes or backslashes"
    local file
    for file in "$password_file" "$model"; do
        [ -z "$file" ] || [ -r "$file" ] || fail "$file: cannot be read"
    done
}

# A 64-bit kernel says nothing: Raspberry Pi OS runs one under 32-bit programs.
check_machine() {
    local machine architecture
    machine="$(uname -m)"
    architecture="$(dpkg --print-architecture 2>/dev/null || echo none)"
    case "$architecture" in
        arm64 | amd64) ;;
        armhf | armel | i386)
            fail "this system is 32-bit ($architecture on $machine), for which there is no onnxruntime: install the" \
                "64-bit Raspberry Pi OS (Pi 3, 4, 5 and Zero 2 W can run it)"
            ;;
        *) fail "Vigie installs on Debian and its relatives on arm64 and amd64, this is $architecture on $machine" ;;
    esac
    [ "$(uname -s)" = Linux ] || fail "Vigie's agent needs Linux, this is $(uname -s)"
}

jetson() {
    [ "$on_jetson" != no ] || return 1
    [ "$on_jetson" = yes ] || [ -e /etc/nv_tegra_release ] || grep -qas Jetson /proc/device-tree/model
}

check_rights() {
    [ -n "$root" ] || [ "$dry_run" = yes ] || [ "$(id -u)" = 0 ] || fail "run it as root: sudo $0"
}

install_packages() {
    python="${python:-python3}"
    if [ -z "$root" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        run apt-get update -qq
        run apt-get install -y -qq --no-install-recommends python3 python3-venv
    fi
    [ "$dry_run" = yes ] || command -v "$python" >/dev/null || fail "there is no $python; name one with --python"
    [ "$dry_run" = yes ] || "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "the agent needs Python 3.10 or newer, $python is $("$python" --version 2>&1); name another with --python"
}

make_user() {
    [ -z "$root" ] || return 0
    id vigie >/dev/null 2>&1 ||
        run useradd --system --home-dir /var/lib/vigie --no-create-home --shell /usr/sbin/nologin vigie
    local group
    for group in video render i2c gpio; do
        ! getent group "$group" >/dev/null || run usermod -a -G "$group" vigie
    done
}

# A new environment takes the old one's place at the end, at once: an upgrade that fails changes nothing.
install_program() {
    local extra=agent,push options=() fresh
    fresh="$opt/venv-$(date -u +%Y%m%dT%H%M%S)"
    if jetson; then
        extra=agent-jetson,push
        options+=(--system-site-packages) # NVIDIA's onnxruntime is used, and never overwritten
    fi
    from="${from:-$here/..}"
    if [ -e "$from" ]; then from="$(realpath "$from")"; fi
    say "installing ${from}[$extra] into $fresh"
    run mkdir -p "$opt"
    run "$python" -m venv "${options[@]}" "$fresh"
    [ "$dry_run" = yes ] || unfinished="$fresh"
    run "$fresh/bin/python" -m pip install -q --disable-pip-version-check --only-binary=:all: "${from}[$extra]"
    [ -z "$onnxruntime" ] || run "$fresh/bin/python" -m pip install -q --disable-pip-version-check "$onnxruntime"
    [ "$dry_run" = yes ] || "$fresh/bin/python" -c 'import onnxruntime' 2>/dev/null || no_runtime
    run ln -sfn "$(basename "$fresh")" "$opt/venv.new"
    run mv -T "$opt/venv.new" "$opt/venv"
    unfinished=""
    remove_other_environments "$fresh"
    run mkdir -p "$(dirname "$link")"
    run ln -sfn "$opt/venv/bin/vigie-agent" "$link"
}

remove_other_environments() {
    local other
    for other in "$opt"/venv-*; do
        [ ! -d "$other" ] || [ "$other" = "$1" ] || run rm -rf "$other"
    done
}

no_runtime() {
    fail "onnxruntime cannot be imported. On a Jetson take NVIDIA's build for your JetPack (onnxruntime-gpu, a wheel" \
        "for Python $("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'))" \
        "and pass it with --onnxruntime FILE.whl"
}

# Ask for what was not given: variable, question, default.
want() {
    local given="${!1}"
    if [ -z "$given" ] && [ "$ask" = yes ] && [ -t 0 ]; then
        read -r -p "$2 [$3]: " given
    fi
    printf -v "$1" '%s' "${given:-$3}"
}

first_camera() {
    local found
    for found in /dev/v4l/by-id/*-video-index0; do
        if [ -e "$found" ]; then
            printf '%s' "$found"
            return
        fi
    done
}

configure() {
    if [ -e "$etc/agent.yaml" ]; then
        say "$etc/agent.yaml is there and stays as it is"
        return
    fi
    local name
    name="$(hostname | tr 'A-Z_.' 'a-z--' | tr -cd 'a-z0-9-' | cut -c1-32)"
    want site "site (2 to 32 of a-z, 0-9, -)" my-site
    want device "device, unique within its site" "${name:-my-device}"
    want broker "broker" mqtt://127.0.0.1:1883
    want username "user name at the broker (empty: none)" ""
    check_values
    say "writing $etc/agent.yaml"
    [ "$dry_run" = no ] || return 0
    mkdir -p "$etc/models" "$var"
    [ -z "$password_file" ] || install -m 0640 "$password_file" "$etc/password"
    [ -z "$model" ] || install -m 0644 "$model" "$etc/models/$(basename "$model")"
    (umask 0027 && configuration >"$etc/agent.yaml")
    if [ -z "$root" ]; then
        chown root:vigie "$etc" "$etc/agent.yaml"
        [ ! -e "$etc/password" ] || chown root:vigie "$etc/password"
        chown vigie:vigie "$var"
        chmod 0750 "$etc" "$var"
    fi
}

configuration() {
    camera="${camera:-$(first_camera)}"
    printf '# Every key with its meaning: vigie-agent config. After a change: vigie-agent check --config %s,\n' \
        "$etc/agent.yaml"
    printf '# then systemctl restart vigie-agent.\n'
    printf 'site: %s\ndevice: %s\nbroker:\n  url: "%s"\n' "$site" "$device" "$broker"
    [ -z "$username" ] || printf '  username: "%s"\n' "$username"
    [ ! -e "$etc/password" ] || printf '  password_file: "%s"\n' "$etc/password"
    printf 'state_dir: "%s"\nstreams:\n  - name: cam0\n' "$var"
    printf '    source: {v4l2: "%s"}\n' "${camera:-/dev/v4l/by-id/WHICH-CAMERA}"
    printf '    model: "models/%s"\n' "$(basename "${model:-WHICH-MODEL.onnx}")"
}

complete() { [ -e "$etc/agent.yaml" ] && ! grep -qE 'WHICH-(CAMERA|MODEL)' "$etc/agent.yaml"; }

install_service() {
    local source="$here/systemd/vigie-agent.service"
    [ -e "$source" ] || fail "$source is missing: run this script from a checkout"
    say "writing $unit"
    run mkdir -p "$(dirname "$unit")"
    run install -m 0644 "$source" "$unit"
    [ -z "$root" ] || return 0
    run systemctl daemon-reload
    if [ "$start" = yes ] && complete; then
        run systemctl enable vigie-agent
        run systemctl restart vigie-agent
        say "the agent runs; its log: journalctl -u vigie-agent -f"
    fi
}

check_agent() {
    [ "$dry_run" = no ] && [ -z "$root" ] && [ "$start" = yes ] || return 0
    if ! complete; then
        say "next: put your model into /etc/vigie/models, name it and the camera in /etc/vigie/agent.yaml, then"
        say "  sudo -u vigie vigie-agent check --config /etc/vigie/agent.yaml"
        say "  sudo systemctl enable --now vigie-agent"
        return
    fi
    # A service that has the camera already would make the check fail.
    systemctl stop vigie-agent 2>/dev/null || true
    runuser -u vigie -- /opt/vigie/venv/bin/vigie-agent check --config /etc/vigie/agent.yaml ||
        say "the lines above say what to do; the agent is started anyway, and goes on trying"
}

uninstall() {
    [ -n "$root" ] || run systemctl disable --now vigie-agent 2>/dev/null || true
    run rm -f "$unit" "$link"
    run rm -rf "$opt"
    [ -n "$root" ] || run systemctl daemon-reload
    if [ "$action" = purge ]; then
        run rm -rf "$etc" "$var"
        [ -n "$root" ] || ! id vigie >/dev/null 2>&1 || run userdel vigie
        say "removed, with its configuration and data"
    else
        say "removed; $etc and $var are still there (--purge removes them)"
    fi
}

parse "$@"
check_rights
if [ "$action" != install ]; then
    uninstall
    exit 0
fi
check_machine
install_packages
make_user
install_program
configure
check_agent
install_service
say "done"
