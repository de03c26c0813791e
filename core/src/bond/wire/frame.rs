//! One control frame: a type byte and what that type says.
//!
//! | type | frame | bytes after the type | asks for an ACK |
//! | --- | --- | --- | --- |
//! | 0 | PADDING | none; the rest of the packet is padding too | no |
//! | 1 | DATA | see `packet`; never among control frames | yes |
//! | 2 | TIME | timestamp 3; always the first | no |
//! | 3, 4 | ACK, NACK | see `ack` | no, yes |
//! | 5 | PING | none | yes |
//! | 6, 7 | PATH_CHALLENGE, PATH_RESPONSE | token 8 | yes |
//! | 8 | PATH_STATUS | serial 4, path 1, state 1, weight 2 | yes |
//! | 9 | MTU_PROBE | size 2: bytes of the UDP payload that carries it | yes |
//! | 10, 11, 12 | CONFIG, CONFIG_REQUEST, CONFIG_ACK | see `config` | yes |
//! | 13 | REKEY | none: the server asks the client for a handshake | yes |
//! | 14 | CLOSE | reason 1 | no |
//! | 15 | MODE | see `wish` | yes |
//! | 32 to 35 | reserved: parity, compressed header, superpacket template, piece | | |

use super::ack::path;
use super::{Ack, Config, ConfigRequest, Full, MAX_PATHS, Malformed, Nack, PathId, Reader, Wish, Writer};

pub(super) const PADDING: u8 = 0;
pub(super) const DATA: u8 = 1;
pub(super) const TIME: u8 = 2;

/// What a peer says of its end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerPathState {
    /// Use it.
    Available,
    /// Use it only if no available one works.
    Standby,
    /// It is going away: send nothing new on it.
    Draining,
    /// It is gone.
    Gone,
}

/// What a peer asks of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathStatus {
    /// Counts up by one with each status of the association: a late one is known by a smaller
    /// serial.
    pub(crate) serial: u32,
    /// The path.
    pub(crate) path: PathId,
    /// Its state.
    pub(crate) state: PeerPathState,
    /// Its share, relative to the shares of the others.
    pub(crate) weight: u16,
}

/// Why a peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// It was asked to.
    Shutdown,
    /// Nothing came for too long.
    Idle,
    /// The client started anew and this association is its former life.
    Replaced,
    /// The client's key is not welcome any more.
    Revoked,
    /// The server has no address or memory left.
    Full,
    /// The peer broke the protocol.
    Protocol,
    /// A reason that this version does not know.
    Other(u8),
}

impl CloseReason {
    const fn from_byte(byte: u8) -> CloseReason {
        match byte {
            0 => CloseReason::Shutdown,
            1 => CloseReason::Idle,
            2 => CloseReason::Replaced,
            3 => CloseReason::Revoked,
            4 => CloseReason::Full,
            5 => CloseReason::Protocol,
            other => CloseReason::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            CloseReason::Shutdown => 0,
            CloseReason::Idle => 1,
            CloseReason::Replaced => 2,
            CloseReason::Revoked => 3,
            CloseReason::Full => 4,
            CloseReason::Protocol => 5,
            CloseReason::Other(byte) => byte,
        }
    }
}

/// A control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// What arrived on a path.
    Ack(Ack),
    /// What is missing.
    Nack(Nack),
    /// Nothing but a wish for an ACK.
    Ping,
    /// Send these bytes back on the path they came by.
    PathChallenge([u8; 8]),
    /// The bytes of a challenge.
    PathResponse([u8; 8]),
    /// The state of a path's other end.
    PathStatus(PathStatus),
    /// This packet has this size, as UDP payload in bytes.
    MtuProbe(u16),
    /// Addresses and MTU for the client.
    Config(Config),
    /// The client asks for its configuration.
    ConfigRequest(ConfigRequest),
    /// The client has the configuration of this epoch.
    ConfigAck(u32),
    /// The server asks for a handshake.
    Rekey,
    /// The peer leaves.
    Close(CloseReason),
    /// How the client wants packets to be spread.
    Mode(Wish),
}

impl Frame {
    /// Whether the receiver acknowledges the packet for this frame. An ACK of an ACK would never
    /// end, nor would keepalives that answer keepalives.
    pub(crate) const fn is_ack_eliciting(&self) -> bool {
        match self {
            Frame::Ack(_) | Frame::Close(_) => false,
            Frame::Nack(_)
            | Frame::Ping
            | Frame::PathChallenge(_)
            | Frame::PathResponse(_)
            | Frame::PathStatus(_)
            | Frame::MtuProbe(_)
            | Frame::Config(_)
            | Frame::ConfigRequest(_)
            | Frame::ConfigAck(_)
            | Frame::Rekey
            | Frame::Mode(_) => true,
        }
    }

    /// The frame at the beginning of what is left, `None` if the rest is padding.
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Option<Frame>, Malformed> {
        if reader.left().is_empty() {
            return Ok(None);
        }
        let frame = match reader.u8("frame type")? {
            PADDING => {
                let left = reader.left().len();
                // Padding is zero to the end: what follows it could otherwise be read as frames by
                // some other version.
                let padding = reader.bytes("padding", left)?;
                match padding.iter().find(|byte| **byte != 0) {
                    Some(byte) => return Err(Malformed::Value { what: "padding", got: (*byte).into() }),
                    None => return Ok(None),
                }
            }
            got @ (DATA | TIME) => return Err(Malformed::Unknown { what: "control frame", got }),
            3 => Frame::Ack(Ack::parse(reader)?),
            4 => Frame::Nack(Nack::parse(reader)?),
            5 => Frame::Ping,
            6 => Frame::PathChallenge(reader.array("PATH_CHALLENGE")?),
            7 => Frame::PathResponse(reader.array("PATH_RESPONSE")?),
            8 => Frame::PathStatus(PathStatus {
                serial: reader.u32("PATH_STATUS's serial")?,
                path: path(reader)?,
                state: match reader.u8("path state")? {
                    0 => PeerPathState::Available,
                    1 => PeerPathState::Standby,
                    2 => PeerPathState::Draining,
                    3 => PeerPathState::Gone,
                    got => return Err(Malformed::Unknown { what: "path state", got }),
                },
                weight: reader.u16("path weight")?,
            }),
            9 => Frame::MtuProbe(reader.u16("MTU_PROBE's size")?),
            10 => Frame::Config(Config::parse(reader)?),
            11 => Frame::ConfigRequest(ConfigRequest::parse(reader)?),
            12 => Frame::ConfigAck(match reader.u32("CONFIG_ACK's epoch")? {
                0 => return Err(Malformed::Value { what: "CONFIG_ACK's epoch", got: 0 }),
                epoch => epoch,
            }),
            13 => Frame::Rekey,
            14 => Frame::Close(CloseReason::from_byte(reader.u8("CLOSE's reason")?)),
            15 => Frame::Mode(Wish::parse(reader)?),
            got => return Err(Malformed::Unknown { what: "control frame", got }),
        };
        Ok(Some(frame))
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        match self {
            Frame::Ack(ack) => {
                out.u8(3)?;
                ack.emit(out)
            }
            Frame::Nack(nack) => {
                out.u8(4)?;
                nack.emit(out)
            }
            Frame::Ping => out.u8(5),
            Frame::PathChallenge(token) => {
                out.u8(6)?;
                out.bytes(token)
            }
            Frame::PathResponse(token) => {
                out.u8(7)?;
                out.bytes(token)
            }
            Frame::PathStatus(status) => {
                out.u8(8)?;
                out.u32(status.serial)?;
                out.u8(status.path.get())?;
                out.u8(match status.state {
                    PeerPathState::Available => 0,
                    PeerPathState::Standby => 1,
                    PeerPathState::Draining => 2,
                    PeerPathState::Gone => 3,
                })?;
                out.u16(status.weight)
            }
            Frame::MtuProbe(size) => {
                out.u8(9)?;
                out.u16(*size)
            }
            Frame::Config(config) => {
                out.u8(10)?;
                config.emit(out)
            }
            Frame::ConfigRequest(request) => {
                out.u8(11)?;
                request.emit(out)
            }
            Frame::ConfigAck(epoch) => {
                out.u8(12)?;
                out.u32(*epoch)
            }
            Frame::Rekey => out.u8(13),
            Frame::Close(reason) => {
                out.u8(14)?;
                out.u8(reason.byte())
            }
            Frame::Mode(wish) => {
                out.u8(15)?;
                wish.emit(out)
            }
        }
    }
}

const _: () = assert!(MAX_PATHS <= 256, "a path id is one byte on the wire");
