# Sourced by ./check and ./demo: installs from packages.txt what is not there.
need_packages()
{
	local name missing=() sudo=

	command -v dpkg-query >/dev/null || {
		echo "no Debian package tools here: make sure that what packages.txt lists is installed" >&2
		return 0
	}
	while read -r name; do
		case $name in ''|'#'*) continue ;; esac
		dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
	done <packages.txt
	[ ${#missing[@]} -eq 0 ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		sudo=sudo
	fi
	echo "installing ${missing[*]}" >&2
	{
		$sudo apt-get update -q &&
			$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
	} >&2 || {
		echo "could not install: ${missing[*]}" >&2
		return 1
	}
}
