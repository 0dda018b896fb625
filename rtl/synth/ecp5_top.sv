/// Place and route on an ECP5: flame_core scaled down to what the largest ECP5 holds (64 lanes, small memories), its pins
/// behind shift registers, since no package has two thousand. The registers on both sides keep the pins' own timing out
/// of the clock that is measured.
module ecp5_top (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic serial_i,
    output logic serial_o
);

  localparam int unsigned Inputs = 1104;
  localparam int unsigned Outputs = 778;
  localparam int unsigned Folded = 26;

  logic rst_q;
  logic [Inputs-1:0] in_q;
  logic [Outputs-1:0] out, out_q;
  logic [Folded-1:0] fold_q;
  logic serial_q;

  always_ff @(posedge clk_i) begin
    rst_q <= rst_ni;
    in_q  <= {in_q[Inputs-2:0], serial_i};
    out_q <= out;
    for (int unsigned i = 0; i < Folded; i++) fold_q[i] <= ^out_q[(Outputs/Folded)*i+:(Outputs/Folded)];
    serial_q <= ^fold_q;
  end
  assign serial_o = serial_q;

  flame_core #(
      .Positions(1),
      .Channels(1),
      .BankWords(1024),
      .MaxDModel(256),
      .MaxDff(512),
      .MaxExperts(2),
      .MaxLayers(2),
      .MaxSlots(8),
      .NumSequences(4),
      .MaxOrder(2),
      .TopK(2),
      .TableAddressBits(8)
  ) u_core (
      .clk_i,
      .rst_ni(rst_q),
      .interrupt_o(out[0]),
      .s_awvalid_i(in_q[0]),
      .s_awready_o(out[1]),
      .s_awaddr_i(in_q[12:1]),
      .s_wvalid_i(in_q[13]),
      .s_wready_o(out[2]),
      .s_wdata_i(in_q[45:14]),
      .s_wstrb_i(in_q[49:46]),
      .s_bvalid_o(out[3]),
      .s_bready_i(in_q[50]),
      .s_bresp_o(out[5:4]),
      .s_arvalid_i(in_q[51]),
      .s_arready_o(out[6]),
      .s_araddr_i(in_q[63:52]),
      .s_rvalid_o(out[7]),
      .s_rready_i(in_q[64]),
      .s_rdata_o(out[39:8]),
      .s_rresp_o(out[41:40]),
      .m_arvalid_o(out[42]),
      .m_arready_i(in_q[65]),
      .m_araddr_o(out[106:43]),
      .m_arlen_o(out[114:107]),
      .m_rvalid_i(in_q[66]),
      .m_rready_o(out[115]),
      .m_rdata_i(in_q[578:67]),
      .m_rresp_i(in_q[580:579]),
      .m_rlast_i(in_q[581]),
      .h_arvalid_o(out[116]),
      .h_arready_i(in_q[582]),
      .h_araddr_o(out[180:117]),
      .h_arlen_o(out[188:181]),
      .h_rvalid_i(in_q[583]),
      .h_rready_o(out[189]),
      .h_rdata_i(in_q[1095:584]),
      .h_rresp_i(in_q[1097:1096]),
      .h_rlast_i(in_q[1098]),
      .h_awvalid_o(out[190]),
      .h_awready_i(in_q[1099]),
      .h_awaddr_o(out[254:191]),
      .h_awlen_o(out[262:255]),
      .h_wvalid_o(out[263]),
      .h_wready_i(in_q[1100]),
      .h_wdata_o(out[775:264]),
      .h_wlast_o(out[776]),
      .h_bvalid_i(in_q[1101]),
      .h_bready_o(out[777]),
      .h_bresp_i(in_q[1103:1102])
  );

endmodule
